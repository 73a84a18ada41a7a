package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	millrace "github.com/millrace-dev/millrace"
)

// firstRead is how much room a body gets before any of it has come: what a
// client claims is believed only as it arrives.
const firstRead = 16 << 10

// readBody reads the whole body, up to the limit. The bytes are the caller's
// to keep: the pipeline may hold them when the client is long gone, so they come
// from no pool.
func (c *call) readBody(limit int) ([]byte, error) {
	r := c.r
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, millrace.Errorf(millrace.CodeUnsupportedMedia, "the body must not be encoded; Content-Encoding is %q", e)
	}
	if r.ContentLength > int64(limit) {
		return nil, &http.MaxBytesError{Limit: int64(limit)}
	}
	body := http.MaxBytesReader(c.w.ResponseWriter, r.Body, int64(limit))
	room := firstRead
	if n := r.ContentLength; n >= 0 && n < firstRead {
		room = int(n) + 1 // one more to meet the end without growing
	}
	b, err := readAll(body, make([]byte, 0, room))
	if err != nil && !isTooLong(err) && c.ctx.Err() == nil {
		return nil, millrace.Errorf(millrace.CodeBadRequest, "the body could not be read to its end")
	}
	return b, err
}

func isTooLong(err error) bool {
	var long *http.MaxBytesError
	return errors.As(err, &long)
}

func readAll(r io.Reader, b []byte) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// mediaType is the content type without its parameters, in small letters.
// None at all is taken for JSON.
func (c *call) mediaType() string {
	v := c.r.Header.Get("Content-Type")
	if v == "" || v == "application/json" {
		return "application/json"
	}
	if i := strings.IndexByte(v, ';'); i >= 0 {
		v = v[:i]
	}
	return strings.ToLower(strings.TrimSpace(v))
}

func (c *call) needJSON() error {
	if t := c.mediaType(); t != "application/json" {
		return millrace.Errorf(millrace.CodeUnsupportedMedia, "the body must be application/json, not %q", mime.FormatMediaType(t, nil))
	}
	return nil
}

// decode reads a JSON object into a request's shape. Members that the shape
// does not have are ignored.
func (s *Server) decode(c *call, into any) error {
	if err := c.needJSON(); err != nil {
		return err
	}
	b, err := c.readBody(s.config.MaxBodyBytes)
	if err != nil {
		return err
	}
	return decodeObject(b, into)
}

func decodeObject(b []byte, into any) error {
	b = bytes.TrimLeft(b, " \t\r\n")
	switch {
	case len(b) == 0:
		return millrace.Errorf(millrace.CodeBadRequest, "the body is empty; it must be a JSON object")
	case b[0] != '{':
		return millrace.Errorf(millrace.CodeBadRequest, "the body must be a JSON object")
	}
	return explain(json.Unmarshal(b, into))
}

// explain puts an error of encoding/json into the API's words.
func explain(err error) error {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return millrace.Invalid(wrongType.Field, "must be %s, not %s", wanted(wrongType.Type), strings.TrimSuffix(wrongType.Value, " "))
	case errors.As(err, &syntax):
		return millrace.Errorf(millrace.CodeBadRequest, "the body is not JSON: %s, at byte %d", syntax.Error(), syntax.Offset)
	}
	return millrace.Errorf(millrace.CodeBadRequest, "the body is not as it should be: %s", err)
}

func wanted(t reflect.Type) string {
	if t == reflect.TypeFor[seconds]() {
		return `whole seconds, or a duration such as "10s"`
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return fmt.Sprintf("a %s", t.Kind())
}

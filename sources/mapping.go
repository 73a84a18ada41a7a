package sources

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	millrace "github.com/millrace-dev/millrace"
)

// mapping reads from a request or a message what its source says stands
// there: the type of the event, its key, and the headers it keeps.
type mapping struct {
	source  millrace.Source
	headers map[string]string
	body    []byte
	query   url.Values
	// document is the body as far as it was read.
	document millrace.Document
}

// places is where a provider puts the type of an event, the first that is
// there, and the id by which it sends the same event once more.
type places struct {
	types []millrace.Location
	key   millrace.Location
}

var providerPlaces = map[millrace.Provider]places{
	millrace.ProviderGitHub:           {types: []millrace.Location{"request.header.X-GitHub-Event"}, key: "request.header.X-GitHub-Delivery"},
	millrace.ProviderShopify:          {types: []millrace.Location{"request.header.X-Shopify-Topic"}, key: "request.header.X-Shopify-Webhook-Id"},
	millrace.ProviderStripe:           {types: []millrace.Location{"request.body.type"}, key: "request.body.id"},
	millrace.ProviderSlack:            {types: []millrace.Location{"request.body.event.type", "request.body.type"}, key: "request.body.event_id"},
	millrace.ProviderStandardWebhooks: {types: []millrace.Location{"request.body.type"}, key: "request.header.webhook-id"},
}

func newMapping(s millrace.Source, headers map[string]string, body []byte, query url.Values) mapping {
	return mapping{source: s, headers: headers, body: body, query: query, document: millrace.NewDocument(millrace.DocumentParts{Body: body})}
}

// apply completes a submission by what is found. What the submission says
// itself goes first.
func (m mapping) apply(sub *millrace.Submission) error {
	if sub.Type == "" {
		sub.Type = m.eventType()
	}
	if sub.IdempotencyKey == "" {
		if key := m.key(); key != "" {
			sub.IdempotencyKey, sub.KeyScope = key, millrace.KeyOfSource
		}
	}
	for _, name := range m.source.ForwardHeaders {
		// What no delivery could carry would hold up the event.
		v := headerOf(m.headers, name)
		if v == "" || headerOf(sub.Headers, name) != "" || !millrace.SendableHeader(textproto.CanonicalMIMEHeaderKey(name), v) {
			continue
		}
		if sub.Headers == nil {
			sub.Headers = map[string]string{}
		}
		sub.Headers[name] = v
	}
	return nil
}

// eventType is the type found where the source says that it stands, or where
// its provider puts it; else the source's own name for its events, but for a
// message that should say its type itself. What cannot be a type is none.
func (m mapping) eventType() string {
	at := providerPlaces[m.source.Provider].types
	if l := m.source.EventTypeLocation; l != "" {
		at = append([]millrace.Location{l}, at...)
	}
	for _, l := range at {
		if v := m.at(l); isLine(v) {
			return v
		}
	}
	if m.source.Provider == millrace.ProviderTwitter {
		if v := activity(m.body); isLine(v) {
			return v
		}
	}
	if b := m.source.PubSub; b != nil && !b.Raw {
		return ""
	}
	return m.source.MaskID
}

// activity is the type of a webhook of Twitter: the name of the member that
// has the activities, such as tweet_create_events.
func activity(body []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if strings.HasSuffix(name, "_events") || name == "user_event" {
			return name
		}
	}
	return ""
}

// keySeparator stands between the parts of a key.
const keySeparator = ","

// key joins the parts of the event's key. Where one of them is missing there
// is none: half a key would make one event of two. A source that names no
// parts has its provider's id.
func (m mapping) key() string {
	at := m.source.IdempotencyKeys
	if l := providerPlaces[m.source.Provider].key; len(at) == 0 && l != "" {
		at = []millrace.Location{l}
	}
	parts, exact := make([]string, len(at)), true
	for i, l := range at {
		if parts[i] = m.at(l); parts[i] == "" {
			return ""
		}
		exact = exact && (len(at) == 1 || !strings.Contains(parts[i], keySeparator))
	}
	if key := strings.Join(parts, keySeparator); exact && (isLine(key) || key == "") {
		return key
	}
	return digest(parts)
}

// digest stands for a key that cannot be kept as it is: too long, with
// control characters, or with parts that could be taken apart in two ways.
func digest(parts []string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// longestLine bounds a type and a key, as the ingest stage does.
const longestLine = 255

// isLine tells whether a text may be a type or a key.
func isLine(text string) bool {
	return text != "" && len(text) <= longestLine && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

func (m mapping) at(l millrace.Location) string {
	switch part, path := l.Split(); part {
	case millrace.InHeader:
		return headerOf(m.headers, path)
	case millrace.InQuery:
		return m.query.Get(path)
	default:
		return m.document.Text(path)
	}
}

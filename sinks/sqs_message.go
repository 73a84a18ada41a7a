package sinks

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// maxAttributes is how many attributes a message of SQS may have.
	maxAttributes = 10
	// headerRest is the attribute that holds, as a JSON object, the headers
	// that found no place of their own.
	headerRest = "x-millrace-headers"
	// headerTransfer says "base64" of a body that SQS does not take as it is.
	headerTransfer = "content-transfer-encoding"
)

// first are the headers that get an attribute of their own before others do.
func first() []string {
	return []string{
		headerUUID, "webhook-id", "webhook-timestamp", "webhook-signature", headerTransfer, "content-type", headerEventType, "x-convoy-signature",
		"x-convoy-idempotency-key", "traceparent",
	}
}

// sqsMessage makes the message of a posting. The body is the payload where
// that is text that SQS takes, and its base64 otherwise.
func sqsMessage(p posting) (*sqs.SendMessageInput, error) {
	if len(p.message.Payload) == 0 {
		return nil, errors.New("SQS takes no empty message")
	}
	headers := maps.Clone(map[string]string(p.message.Metadata))
	headers[headerUUID] = p.message.UUID
	body := string(p.message.Payload)
	if !isSQSText(body) {
		body = base64.StdEncoding.EncodeToString(p.message.Payload)
		headers[headerTransfer] = "base64"
	}
	attributes, err := sqsAttributes(headers)
	if err != nil {
		return nil, err
	}
	input := &sqs.SendMessageInput{MessageBody: &body, MessageAttributes: attributes}
	if sink := p.endpoint.Sink.SQS; sink.FIFO() {
		input.MessageGroupId = aws.String(sqsID(p.at(sink.GroupID), p.eventType))
		input.MessageDeduplicationId = aws.String(sqsID(p.at(sink.DeduplicationID), p.message.UUID))
	}
	return input, nil
}

// sqsAttributes gives each header an attribute of its own, as long as there
// are enough; the others are members of one.
func sqsAttributes(headers map[string]string) (map[string]types.MessageAttributeValue, error) {
	names := slices.SortedFunc(maps.Keys(headers), byRank)
	alone := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !isSQSAttribute(name, headers[name]) })
	if len(alone) > maxAttributes || len(alone) < len(names) {
		alone = alone[:min(len(alone), maxAttributes-1)]
	}
	rest := map[string]string{}
	attributes := make(map[string]types.MessageAttributeValue, maxAttributes)
	for _, name := range names {
		if slices.Contains(alone, name) {
			attributes[name] = attributeOf(headers[name])
		} else {
			rest[name] = headers[name]
		}
	}
	if len(rest) > 0 {
		encoded, err := json.Marshal(rest)
		if err != nil {
			return nil, fmt.Errorf("encode the headers: %w", err)
		}
		attributes[headerRest] = attributeOf(string(encoded))
	}
	return attributes, nil
}

func attributeOf(value string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
}

// byRank puts the first before the rest, which follow by name.
func byRank(a, b string) int {
	ranks := first()
	rank := func(name string) int {
		if i := slices.Index(ranks, name); i >= 0 {
			return i
		}
		return len(ranks)
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// isSQSAttribute follows SQS' rules for attributes.
func isSQSAttribute(name, value string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789_-."
	return strings.Trim(name, allowed) == "" && len(name) <= 256 && !strings.HasPrefix(name, "aws.") && !strings.HasPrefix(name, "amazon.") &&
		!strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.Contains(name, "..") && value != "" && isSQSText(value)
}

// isSQSText tells whether SQS takes a text: the characters of XML 1.0.
func isSQSText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return true
}

// sqsID makes a group's or a duplicate's id of a text, or else of another one:
// up to 128 letters, digits and marks. Of any other, its hash is taken.
func sqsID(id, otherwise string) string {
	if id == "" {
		id = otherwise
	}
	plain := id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
	if plain {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

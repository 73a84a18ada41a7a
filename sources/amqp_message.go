package sources

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// message is a delivery as the pipeline takes it.
func (b *amqpBroker) message(d amqp.Delivery) *brokerMessage {
	m := &brokerMessage{id: b.coordinates(d), at: d.Timestamp, headers: amqpHeaders(d), body: d.Body}
	if most := b.config.mostBytes(); len(m.body) > most {
		m.body, m.cut = m.body[:most], true
	}
	return m
}

// coordinates are the publisher's, as AMQP has none of its own: the message-id
// property, and the app-id, as two applications may count alike.
//
//	amqp:<source>:<revision>:<app id>:<message id>
//	amqp:<source>:<revision>:<delivery>
//
// A message without a message-id cannot be told from another with the same
// body, and a hash would lose the second of two equal ones. So each delivery
// of it has an id of its own: tried again here it is one event, delivered
// again it is another.
func (b *amqpBroker) coordinates(d amqp.Delivery) string {
	if d.MessageId == "" {
		return coordinates(b.source, uuid.NewString())
	}
	// Escaped, as both are any bytes, colons among them.
	return coordinates(b.source, url.QueryEscape(d.AppId), url.QueryEscape(d.MessageId))
}

// amqpHeaders are the headers of a delivery that are text, numbers, truth
// values or times; and, where no header has the name, its routing key and
// those properties that say what it is.
func amqpHeaders(d amqp.Delivery) map[string]string {
	headers := map[string]string{}
	for name, value := range map[string]string{
		"amqp-routing-key": d.RoutingKey, "amqp-type": d.Type, "amqp-app-id": d.AppId, "amqp-message-id": d.MessageId,
		"amqp-correlation-id": d.CorrelationId, "amqp-content-type": d.ContentType,
	} {
		if value != "" {
			headers[name] = value
		}
	}
	for name, value := range d.Headers {
		if text, ok := amqpText(value); ok {
			headers[name] = text
		}
	}
	return headers
}

// amqpText writes a field of a table as text; false: it is no single value.
func amqpText(field any) (string, bool) {
	switch v := field.(type) {
	case string:
		return v, true
	case []byte:
		return headerText(v), true
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case time.Time:
		return v.UTC().Format(time.RFC3339), true
	case bool, int, int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), true
	}
	return "", false
}

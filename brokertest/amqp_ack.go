package brokertest

import (
	"maps"
	"slices"
)

func (ch *amqpChannel) ack(a *amqpArguments) error {
	tag, bits := a.uint64(), a.octet()
	_, err := ch.settle(tag, bits&1 != 0)
	return err
}

func (ch *amqpChannel) reject(a *amqpArguments) error {
	tag, requeue := a.uint64(), a.octet()&1 != 0
	return ch.refuseMessages(tag, false, requeue)
}

func (ch *amqpChannel) nack(a *amqpArguments) error {
	tag, bits := a.uint64(), a.octet()
	return ch.refuseMessages(tag, bits&1 != 0, bits&2 != 0)
}

func (ch *amqpChannel) refuseMessages(tag uint64, multiple, requeue bool) error {
	refused, err := ch.settle(tag, multiple)
	for _, u := range refused {
		if requeue {
			u.queue.putBack(u.message)
		} else {
			ch.connection.host.drop(u.queue, u.message)
		}
	}
	return err
}

// settle takes deliveries off the channel, which makes room for others.
func (ch *amqpChannel) settle(tag uint64, multiple bool) ([]amqpUnacked, error) {
	tags := []uint64{tag}
	if multiple {
		tags = slices.DeleteFunc(slices.Sorted(maps.Keys(ch.unacked)), func(other uint64) bool { return tag != 0 && other > tag })
	}
	var settled []amqpUnacked
	for _, tag := range tags {
		u, known := ch.unacked[tag]
		if !known {
			return settled, &amqpFault{406, reason("precondition_failed", "unknown delivery tag %d", tag), 0}
		}
		delete(ch.unacked, tag)
		u.queue.unacked--
		if u.consumer != nil {
			u.consumer.unacked--
		}
		settled = append(settled, u)
	}
	for _, u := range settled {
		u.queue.feed()
	}
	return settled, nil
}

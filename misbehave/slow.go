package misbehave

import "time"

// What takes too long.
const (
	Deaf       Mode = "deaf"
	Hang       Mode = "hang"
	DripHeader Mode = "drip-header"
	DripLine   Mode = "drip-line"
	DripHints  Mode = "drip-hints"
	DripBody   Mode = "drip-body"
	StallBody  Mode = "stall-body"
)

// dripInterval is how long it is from one drop to the next.
const dripInterval = 50 * time.Millisecond

func slow() []behaviour {
	return []behaviour{
		{mode: Deaf, does: "takes the connection and reads nothing", greet: deaf},
		{mode: Hang, does: "reads the request and never answers", act: (*exchange).hold},
		{mode: DripHeader, does: "sends one header line after another, slowly and without end", act: drip("HTTP/1.1 200 OK\r\n", "X-Drip: 1\r\n")},
		{mode: DripLine, does: "sends a header line that never ends, a byte at a time", act: drip("HTTP/1.1 200 OK\r\nX-Drip: ", "a")},
		{mode: DripHints, does: "sends one 103 Early Hints after another and no answer", act: drip("", "HTTP/1.1 103 Early Hints\r\n\r\n")},
		{mode: DripBody, does: "answers 200 and sends the body a byte at a time", act: drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "a")},
		{mode: StallBody, does: "answers 200, promises a body and sends none", act: held("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")},
	}
}

// deaf reads nothing, and so does not hear when the client leaves.
func deaf(x *exchange) error {
	enough := time.NewTimer(patience)
	defer enough.Stop()
	select {
	case <-x.ctx.Done():
		return x.ctx.Err()
	case <-enough.C:
		return errClosed
	}
}

// drip sends a text, and then a drop again and again.
func drip(first, drop string) func(*exchange) error {
	return func(x *exchange) error {
		tick := time.NewTicker(dripInterval)
		defer tick.Stop()
		err := x.say(first)
		for err == nil {
			select {
			case <-x.ctx.Done():
				return x.ctx.Err()
			case <-tick.C:
				err = x.say(drop)
			}
		}
		return err
	}
}

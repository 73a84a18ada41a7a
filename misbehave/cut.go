package misbehave

// What ends too early.
const (
	Close       Mode = "close"
	Reset       Mode = "reset"
	CutHeader   Mode = "cut-header"
	CutBody     Mode = "cut-body"
	CloseIdle   Mode = "close-idle"
	CloseReused Mode = "close-reused"
)

func cuts() []behaviour {
	return []behaviour{
		{mode: Close, does: "reads the request and closes the connection", act: closed("")},
		{mode: Reset, does: "reads the request and resets the connection", act: (*exchange).reset},
		{mode: CutHeader, does: "closes the connection in the middle of the headers", act: closed("HTTP/1.1 200 OK\r\nX-Cut: yes\r\n")},
		{mode: CutBody, does: "answers 200 and closes the connection in the middle of the body", act: closed("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")},
		{mode: CloseIdle, does: "answers 200, lets the client keep the connection, and closes it", act: closed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")},
		{mode: CloseReused, does: "answers 200, and resets the connection when it has read a second request on it", act: resetReused},
	}
}

func resetReused(x *exchange) error {
	if x.number > 1 {
		return x.reset()
	}
	return x.answer("200 OK", "", "")
}

package misbehave

import (
	"bytes"
	"fmt"
	"net/http"
)

// What is an answer, but not what a receiver should say.
const (
	Gone        Mode = "410"
	Flap        Mode = "flap"
	Echo        Mode = "echo"
	Redirect301 Mode = "redirect-301"
	Redirect302 Mode = "redirect-302"
	Redirect303 Mode = "redirect-303"
	Redirect307 Mode = "redirect-307"
	Redirect308 Mode = "redirect-308"
)

// Elsewhere is the path that redirects lead to: on the same server, where
// whoever follows is seen.
const Elsewhere = "/elsewhere"

func answers() []behaviour {
	return []behaviour{
		{mode: Gone, does: "answers 410: it wants no more deliveries", act: answered("410 Gone", "")},
		{mode: Flap, does: "answers 500 and 200 in turn", act: flap},
		{mode: Echo, does: "answers 200 with the whole request in the body", act: echo},
		redirect(Redirect301, http.StatusMovedPermanently),
		redirect(Redirect302, http.StatusFound),
		redirect(Redirect303, http.StatusSeeOther),
		redirect(Redirect307, http.StatusTemporaryRedirect),
		redirect(Redirect308, http.StatusPermanentRedirect),
	}
}

func redirect(m Mode, code int) behaviour {
	return behaviour{
		mode: m, does: fmt.Sprintf("redirects to %s by %d", Elsewhere, code),
		act: answered(status(code), "Location: "+Elsewhere+"\r\n"),
	}
}

// status is the status of a status line.
func status(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

func flap(x *exchange) error {
	if x.turn%2 == 1 {
		return x.answer("500 Internal Server Error", "", "")
	}
	return x.answer("200 OK", "", "")
}

func echo(x *exchange) error {
	var all bytes.Buffer
	r := x.call.Request
	fmt.Fprintf(&all, "%s %s %s\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Proto, r.Host)
	if err := r.Header.Write(&all); err != nil {
		return err
	}
	all.WriteString("\r\n")
	all.Write(x.call.Body)
	return x.answer("200 OK", "Content-Type: text/plain; charset=utf-8\r\n", all.String())
}

// Package misbehave is a receiver of webhooks at its worst: it hangs, drips,
// floods, cuts, redirects, asks to be left alone and breaks TLS. It serves the
// tests, and those who want to see what becomes of a delivery then
// (`millrace listen --misbehave hang`).
//
//	hang, drip-…          slow.go     what takes too long
//	endless-…, …-bomb     flood.go    what is too much
//	close…, reset, cut-…  cut.go      what ends too early
//	429-…, 503-…          busy.go     what asks for time
//	410, flap, redirect…  answer.go   what is an answer, but no success
//	garbled-…             garble.go   what is no HTTP
//	tls-…                 secure.go   what fails before there is a request
package misbehave

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Mode names one way to misbehave, from a closed list.
type Mode string

// behaviour is what a mode does.
type behaviour struct {
	mode Mode
	// does says it in the third person: "never answers".
	does string
	// act answers a request that has been read whole. It returns nil where the
	// connection may carry another, and otherwise how it ended.
	act func(*exchange) error
	// greet is done to a connection instead of all that.
	greet func(*exchange) error
	// secure is set where it takes TLS to see it; issue makes the certificate
	// as the mode wants it, nil where there is no handshake.
	secure bool
	issue  func(*x509.Certificate)
	// old allows nothing later than TLS 1.1.
	old bool
}

func behaviours() []behaviour {
	return slices.Concat(slow(), floods(), cuts(), answers(), busy(), garbled(), insecure())
}

// Modes is the closed list, each mode once.
func Modes() []Mode {
	var all []Mode
	for _, b := range behaviours() {
		all = append(all, b.mode)
	}
	return all
}

// Does says what a server in this mode does, as the rest of a sentence: "reads
// the request and never answers". It is empty for a mode that is none.
func (m Mode) Does() string {
	b, _ := m.behaviour()
	return b.does
}

// URL is how a client reaches a server in this mode at an address: some modes
// take TLS.
func (m Mode) URL(address string) string {
	if b, _ := m.behaviour(); b.secure {
		return "https://" + address
	}
	return "http://" + address
}

// Validate says that a mode is none, and which there are.
func (m Mode) Validate() error {
	_, err := m.behaviour()
	return err
}

func (m Mode) behaviour() (behaviour, error) {
	for _, b := range behaviours() {
		if b.mode == m {
			return b, nil
		}
	}
	var names []string
	for _, known := range Modes() {
		names = append(names, string(known))
	}
	return behaviour{}, fmt.Errorf("there is no way to misbehave called %q; there are %s", string(m), strings.Join(names, ", "))
}

package misbehave

import (
	"bytes"
	"compress/gzip"
	"strings"
)

// What is too much.
const (
	EndlessBody   Mode = "endless-body"
	EndlessChunks Mode = "endless-chunks"
	EndlessError  Mode = "endless-error"
	EndlessHeader Mode = "endless-header"
	HeaderBomb    Mode = "header-bomb"
	GzipBomb      Mode = "gzip-bomb"
)

const (
	headerBombBytes = 10 << 20
	gzipBombBytes   = 100 << 20
)

func floods() []behaviour {
	return []behaviour{
		{mode: EndlessBody, does: "answers 200 with a body without end", act: flood("HTTP/1.1 200 OK\r\n\r\n")},
		{mode: EndlessChunks, does: "answers 200 with a chunk that is larger than any body", act: flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n")},
		{mode: EndlessError, does: "answers 500 with a body without end", act: flood("HTTP/1.1 500 Internal Server Error\r\n\r\n")},
		{mode: EndlessHeader, does: "answers 200 with header lines without end", act: flood("HTTP/1.1 200 OK\r\n")},
		{mode: HeaderBomb, does: "answers 200 with a header of 10 MB", act: bombWithHeader},
		{mode: GzipBomb, does: "answers 200 with 100 KB that are 100 MB when decompressed", act: bombWithGzip},
	}
}

// flood sends a text, and then more than anybody wants.
func flood(first string) func(*exchange) error {
	return func(x *exchange) error {
		more := strings.Repeat("X-More: 1\r\n", 2000)
		err := x.say(first)
		for err == nil {
			err = x.say(more)
		}
		return err
	}
}

func bombWithHeader(x *exchange) error {
	return x.answer("200 OK", "X-Bomb: "+strings.Repeat("a", headerBombBytes)+"\r\n", "")
}

func bombWithGzip(x *exchange) error {
	bomb, err := gzipBomb()
	if err != nil {
		return err
	}
	return x.answer("200 OK", "Content-Encoding: gzip\r\n", bomb)
}

// gzipBomb is one compressed megabyte of nothing again and again: what is
// joined is one gzip file, too (RFC 1952, section 2.2).
func gzipBomb() (string, error) {
	const part = 1 << 20
	var one bytes.Buffer
	z := gzip.NewWriter(&one)
	if _, err := z.Write(make([]byte, part)); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	return strings.Repeat(one.String(), gzipBombBytes/part), nil
}

// Package userdata reads what an instance's user data tells its kubelet, as the EKS
// images do: nodeadm's NodeConfig (Amazon Linux 2023), bootstrap.sh (Amazon Linux 2)
// and Bottlerocket's settings. It is pure.
package userdata

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
)

// Config is what user data says of the kubelet.
type Config struct {
	// MaxPods is 0 where nothing says it: then the image computes it.
	MaxPods int
	// MaxPodsExpression is nodeadm's, which MaxPods goes before.
	MaxPodsExpression string
}

// maxPart bounds a part of user data after decompression: EC2 takes 16 KiB.
const maxPart = 1 << 20

// Parse reads user data as EC2 hands it to the instance, already decoded from
// base64. What it does not understand says nothing, as at boot.
func Parse(data []byte) Config {
	var c Config
	data = inflate(data)
	if isMultipart(data) {
		for _, p := range parts(data) {
			c.read(p.kind, p.body)
		}
		return c
	}
	c.read("", data)
	return c
}

// read takes over what one part says; later parts go before earlier ones.
func (c *Config) read(kind string, body []byte) {
	switch {
	case kind == "application/node.eks.aws" || kind == "" && bytes.Contains(body, []byte("node.eks.aws/")):
		c.readNodeConfig(body)
	case kind == "text/x-shellscript" || kind == "" && bytes.HasPrefix(bytes.TrimSpace(body), []byte("#!")):
		c.readScript(string(body))
	case kind == "":
		c.readTOML(string(body))
	}
}

type part struct {
	kind string
	body []byte
}

func isMultipart(data []byte) bool {
	m, err := mail.ReadMessage(bytes.NewReader(bytes.TrimLeft(data, "\r\n \t")))
	if err != nil {
		return false
	}
	kind, _, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	return err == nil && strings.HasPrefix(kind, "multipart/")
}

// parts splits a MIME archive. A broken one has the parts before the break.
func parts(data []byte) (out []part) {
	m, err := mail.ReadMessage(bytes.NewReader(bytes.TrimLeft(data, "\r\n \t")))
	if err != nil {
		return nil
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return nil
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart() // decodes quoted-printable
		if err != nil {
			return out
		}
		body, err := io.ReadAll(io.LimitReader(p, maxPart))
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return out
		}
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
			if plain, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body))); err == nil {
				body = plain
			}
		}
		kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			continue
		}
		out = append(out, part{kind, inflate(body)})
	}
}

// inflate undoes gzip, which nodeadm and cloud-init take too.
func inflate(data []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return data
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxPart))
	if err != nil {
		return data
	}
	return plain
}

package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// readBody reads the whole body, for signatures cover it, and the form in it.
func (g *Gateway) readBody(x *exchange) error {
	limit := g.cfg.MaxBody
	if x.r.ContentLength > limit {
		x.w.Header().Set("Connection", "close") // the rest will not be read
		return tooLarge(limit)
	}
	var err error
	body := http.MaxBytesReader(x.w, x.r.Body, limit)
	if n := x.r.ContentLength; n > 0 {
		x.body = make([]byte, n)
		_, err = io.ReadFull(body, x.body)
	} else if n < 0 {
		x.body, err = io.ReadAll(body)
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge(limit)
	case err != nil:
		return &apiError{"IncompleteBody", fmt.Sprintf("The request body ended before its declared length of %d bytes.", x.r.ContentLength), http.StatusBadRequest}
	}
	return x.readForm()
}

// readForm fills x.form for requests that look like the Query protocol: a form
// in the body, or the parameters of a GET.
func (x *exchange) readForm() error {
	var err error
	kind := x.r.Header.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"),
		kind == "" && strings.HasPrefix(string(x.body[:min(len(x.body), 7)]), "Action="):
		x.form, err = url.ParseQuery(string(x.body))
	}
	if err == nil && len(x.body) == 0 && strings.Contains(x.r.URL.RawQuery, "Action=") {
		x.form, err = url.ParseQuery(x.r.URL.RawQuery)
		for k := range x.form {
			if strings.HasPrefix(k, "X-Amz-") { // the signature is no parameter
				delete(x.form, k)
			}
		}
	}
	if err != nil {
		return &apiError{"MalformedQueryString", "The query string contains a syntax error.", http.StatusNotFound}
	}
	return nil
}

func tooLarge(limit int64) error {
	return &apiError{"RequestEntityTooLargeException", fmt.Sprintf("The request exceeds the maximum size of %d bytes.", limit), http.StatusRequestEntityTooLarge}
}

package wire

import "context"

type bodyKey struct{}

// WithBody returns a context that carries the request's body as it came, for the
// few operations whose SDK input cannot tell an absent number from a zero.
func WithBody(ctx context.Context, body []byte) context.Context {
	return context.WithValue(ctx, bodyKey{}, body)
}

// Body returns what WithBody was given, nil for calls that did not come over the
// wire.
func Body(ctx context.Context) []byte {
	b, _ := ctx.Value(bodyKey{}).([]byte)
	return b
}

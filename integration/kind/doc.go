// Package kind is what make test-kind works with: the node image, an engine's runtime,
// and the script that brings them together.
package kind

// Package conformance holds the tests that let the real SDK clients judge
// package wire and the tables of api: requests that the clients serialized are
// decoded by us, and what we encode is decoded by the clients.
package conformance

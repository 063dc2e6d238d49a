// Package elb is classic Elastic Load Balancing.
package elb

import "github.com/ekslocal/ekslocal/emulator/store"

// Config is what the service is made from.
type Config struct {
	Store *store.Store
}

// Service implements Elastic Load Balancing's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
}

// New returns the service.
func New(c Config) *Service { return &Service{store: c.Store} }

// Package elbv2 is Elastic Load Balancing v2: application and network load balancers.
package elbv2

import "github.com/ekslocal/ekslocal/emulator/store"

// Config is what the service is made from.
type Config struct {
	Store *store.Store
}

// Service implements Elastic Load Balancing v2's operations with the signatures of the SDK's client.
type Service struct {
	store *store.Store
}

// New returns the service.
func New(c Config) *Service { return &Service{store: c.Store} }

package lifecycle

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ekslocal/ekslocal/emulator/pki"
)

// signingKeys holds one RSA key made in advance: making one takes 0.1 to 0.5 s of
// CPU, a good part of the time in which a cluster should be ready.
type signingKeys struct {
	once  sync.Once
	ready chan []byte
}

func (k *signingKeys) init() { k.once.Do(func() { k.ready = make(chan []byte) }) }

// fill keeps one key ready until ctx ends.
func (k *signingKeys) fill(ctx context.Context, log *slog.Logger) {
	k.init()
	for {
		key, err := pki.NewSigningKey()
		if err != nil {
			log.Error("no signing key in advance", "error", err)
			return
		}
		select {
		case k.ready <- key:
		case <-ctx.Done():
			return
		}
	}
}

// take returns a key that nobody else has.
func (k *signingKeys) take() ([]byte, error) {
	k.init()
	select {
	case key := <-k.ready:
		return key, nil
	default:
		return pki.NewSigningKey()
	}
}

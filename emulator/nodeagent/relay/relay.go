// Package relay is what runs for the emulator in the container of a control plane: it
// answers the webhooks that EKS itself puts into clusters, reports who uses deprecated
// APIs, and reads logs. It links no Kubernetes code.
package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config is written by the emulator into the container, as JSON.
type Config struct {
	// Emulator is the URL of what the emulator answers this control plane. It may change
	// while the relay runs, which reads the file again for each question.
	Emulator string
	// Listen are the addresses of the webhooks, of the loopback interface.
	Listen []string
	// Key is the file of the relay's key with its certificate, Trust that of the
	// certificate, where the API server looks for authorities. Both are made if they are
	// not there.
	Key, Trust string
	// AuditLog is the API server's, and Reported the file that remembers how far in it
	// the use of deprecated APIs has been reported.
	AuditLog, Reported string
}

// ReadConfig reads the file that the emulator has written.
func ReadConfig(file string) (Config, error) {
	var c Config
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		return c, fmt.Errorf("relay's configuration: %w", err)
	}
	if c.Emulator == "" || len(c.Listen) == 0 || c.Key == "" || c.Trust == "" {
		return c, fmt.Errorf("relay's configuration %s: Emulator, Listen, Key and Trust must be set", file)
	}
	return c, nil
}

// tick is how often the audit log is looked at.
const tick = time.Second

// Serve does its work until ctx ends. It tells systemd when the webhooks are answered.
func Serve(ctx context.Context, file string, log *slog.Logger) error {
	c, err := ReadConfig(file)
	if err != nil {
		return err
	}
	pair, err := certificate(c, time.Now())
	if err != nil {
		return err
	}
	ask := newEmulator(file)
	ctx, end := context.WithCancel(ctx)
	defer end()
	failed := make(chan error, len(c.Listen))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	for _, address := range c.Listen {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		wg.Go(func() { failed <- serveWebhooks(ctx, l, pair, ask, log) })
	}
	if c.AuditLog != "" {
		r := &reporter{audit: c.AuditLog, reported: c.Reported, ask: ask, log: log}
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		wg.Go(func() { r.run(ctx, ticker.C) })
	}
	if err := ready(ctx); err != nil {
		log.Warn("systemd does not hear that the relay is ready", "error", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// ready tells systemd, if that has asked for it (sd_notify(3)).
func ready(ctx context.Context) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", socket)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("READY=1"))
	return errors.Join(err, conn.Close())
}

// replace writes a file so that who reads it sees the old or the new one.
func replace(file string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", content, mode); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"k8s.io/utils/clock"
)

// listenSocket is a listening TCP socket that the parent owns and never accepts
// from: children get duplicates. It outlives them, so that clients wait in its
// backlog instead of being refused while a child is replaced. It is a bare
// descriptor, since a net.Listener would wake the parent for every connection and
// os.File.Fd would turn the shared socket to blocking mode under a child's feet.
type listenSocket struct{ fd int }

// listen retries for a while: after a kill of the emulator its children need a
// moment to notice.
func listen(ctx context.Context, clk clock.Clock, host string, port int) (*listenSocket, error) {
	const patience, pause = 5 * time.Second, 50 * time.Millisecond
	deadline := clk.Now().Add(patience)
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	for {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", addr)
		if err == nil {
			return detach(l.(*net.TCPListener))
		}
		if !errors.Is(err, syscall.EADDRINUSE) || clk.Now().After(deadline) {
			return nil, fmt.Errorf("API server's port: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("API server's port: %w", err)
		case <-clk.After(pause):
		}
	}
}

func detach(l *net.TCPListener) (*listenSocket, error) {
	defer l.Close()
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &listenSocket{}
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if s.fd, dupErr = syscall.Dup(int(fd)); dupErr == nil {
			syscall.CloseOnExec(s.fd)
		}
	})
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("listening socket: %w", err)
	}
	return s, nil
}

func (s *listenSocket) close() { _ = syscall.Close(s.fd) }

// socketPair returns two connected unix stream sockets, neither of which a forked
// process inherits by itself: a copy left open there would hide the end of file.
func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	// Non-blocking before NewFile, so that the runtime polls instead of parking a thread.
	_ = syscall.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "child"), os.NewFile(uintptr(fds[1]), "parent"), nil
}

package relay

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// Main is the program relay, whose argument is the file of its configuration. It
// returns the exit code.
func Main(ctx context.Context, args []string, out io.Writer) int {
	log := slog.New(slog.NewTextHandler(out, nil))
	if len(args) != 1 {
		fmt.Fprintln(out, "relay: the file of its configuration is needed, and nothing else")
		return 2
	}
	if err := Serve(ctx, args[0], log); err != nil {
		log.Error("relay", "error", err)
		return 1
	}
	return 0
}

// LogsMain is the program logs, see ServeLogs.
func LogsMain(in io.Reader, out, complaints io.Writer) int {
	if err := ServeLogs(in, out); err != nil {
		fmt.Fprintln(complaints, "logs:", err)
		return 1
	}
	return 0
}

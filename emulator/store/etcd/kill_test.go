package etcd

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// killDirEnv tells the test binary to be the process that gets killed.
const killDirEnv = "EKSLOCAL_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDirEnv); dir != "" {
		victim(dir)
	}
	os.Exit(m.Run())
}

type mark struct{ N int }

var (
	marks = store.Table[mark]("marks")
	pairs = store.Table[mark]("pairs")
	sum   = store.Table[mark]("sum")
)

// victim writes from several goroutines and says what was acknowledged, one line
// each, until it is killed. Each transaction writes two records of its own and
// counts itself in a shared one, so that half a transaction shows.
func victim(dir string) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	fail := func(err error) {
		log.Error("victim", "error", err)
		os.Exit(1)
	}
	_, st := killServer(dir, fail)
	var mu sync.Mutex
	fmt.Println("ready")
	sc := awsid.Scope{Account: "000000000000"}
	for w := range 6 {
		go func() {
			next := 0
			if m := marks.Get(st, sc, strconv.Itoa(w)); m != nil {
				next = m.N
			}
			for {
				next++
				err := st.Update(context.Background(), func(tx *store.Tx) error {
					marks.Put(tx, sc, strconv.Itoa(w), &mark{next})
					pairs.Put(tx, sc, strconv.Itoa(w), &mark{next})
					t := sum.Edit(tx, sc, "all")
					if t == nil {
						t = &mark{}
					}
					t.N++
					sum.Put(tx, sc, "all", t)
					return nil
				})
				if err != nil {
					fail(err)
				}
				mu.Lock()
				fmt.Println(w, next)
				mu.Unlock()
			}
		}()
	}
	select {}
}

func killServer(dir string, fail func(error)) (*Server, *store.Store) {
	s, err := Start(context.Background(), Config{Dir: dir + "/data", Socket: dir + "/s", Clock: clock.RealClock{},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fail(err)
	}
	st, err := store.Open(context.Background(), s.KV("/p/"), slog.New(slog.DiscardHandler))
	if err != nil {
		fail(err)
	}
	return s, st
}

// TestKillLosesNothingAcknowledged: kill -9 at random moments under concurrent
// writes, with the default durability.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	rounds := 12
	if n, err := strconv.Atoi(os.Getenv("EKSLOCAL_TEST_KILLS")); err == nil {
		rounds = n
	}
	if testing.Short() {
		rounds = 3
	}
	dir := socketDir(t)
	acked := map[string]int{}
	for round := range rounds {
		runVictim(t, dir, acked, time.Duration(rand.IntN(150))*time.Millisecond)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	s, st := killServer(dir, func(err error) { t.Fatal(err) })
	defer s.Close()
	sc, total := awsid.Scope{Account: "000000000000"}, 0
	for w, n := range acked {
		m, p := marks.Get(st, sc, w), pairs.Get(st, sc, w)
		if m == nil || p == nil || m.N != p.N {
			t.Fatalf("writer %s: half a transaction: %v, %v", w, m, p)
		}
		// Each victim may have made one more durable than it lived to tell.
		if m.N < n || m.N > n+rounds {
			t.Errorf("writer %s: %d was acknowledged, %d is there", w, n, m.N)
		}
		total += m.N
	}
	if got := sum.Get(st, sc, "all"); got == nil || got.N != total {
		t.Errorf("the sum says %v, the writers' records %d", got, total)
	}
	t.Logf("%d kills, %d transactions", rounds, total)
}

func runVictim(t *testing.T, dir string, acked map[string]int, life time.Duration) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		_ = cmd.Wait()
		t.Fatalf("the process did not start: %q", lines.Text())
	}
	kill := time.AfterFunc(life, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
	defer kill.Stop()
	for lines.Scan() {
		w, n, ok := strings.Cut(lines.Text(), " ")
		num, err := strconv.Atoi(n)
		if !ok || err != nil {
			continue // cut off by the kill
		}
		if num <= acked[w] {
			t.Errorf("writer %s went back from %d to %d: an acknowledged write was lost", w, acked[w], num)
		}
		acked[w] = num
	}
	_ = cmd.Wait()
}

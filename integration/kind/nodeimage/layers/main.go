// Command layers writes container images of one layer each as an archive for
// `ctr images import`. It reads one image a line:
//
//	NAME[,NAME...] ENTRYPOINT[,ARGUMENT...] SOURCE=TARGET...
//
// A SOURCE is a file, a directory if it ends in a slash, "->TARGET" for a symbolic
// link, or "-" for an empty directory.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "layers:", err)
		os.Exit(1)
	}
}

// entry is one image in an archive's manifest.json.
type entry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func run(in io.Reader, out io.Writer) error {
	a := archive{out: tar.NewWriter(out), seen: map[string]bool{}}
	for lines := bufio.NewScanner(in); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return err
			}
			break
		}
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return fmt.Errorf("%q has no entrypoint", lines.Text())
		}
		if err := a.image(strings.Split(fields[0], ","), strings.Split(fields[1], ","), fields[2:]); err != nil {
			return fmt.Errorf("image %s: %w", fields[0], err)
		}
	}
	return a.close()
}

type archive struct {
	out      *tar.Writer
	seen     map[string]bool
	manifest []entry
}

func (a *archive) image(names, entrypoint, files []string) error {
	var layer bytes.Buffer
	l := layerWriter{tar.NewWriter(&layer), map[string]bool{}}
	for _, d := range []string{"etc", "proc", "sys", "dev", "var/run"} {
		if err := l.directory(d); err != nil {
			return err
		}
	}
	if err := l.out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return err
	}
	for _, f := range files {
		source, target, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("%q is not SOURCE=TARGET", f)
		}
		if err := l.add(source, strings.Trim(target, "/")); err != nil {
			return err
		}
	}
	if err := l.out.Close(); err != nil {
		return err
	}
	digest := sum(layer.Bytes())
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": entrypoint, "Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/.kindbin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	id := sum(config)
	a.manifest = append(a.manifest, entry{id + ".json", names, []string{digest + ".tar"}})
	if err := a.put(digest+".tar", layer.Bytes()); err != nil {
		return err
	}
	return a.put(id+".json", config)
}

func (a *archive) put(name string, content []byte) error {
	if a.seen[name] {
		return nil
	}
	a.seen[name] = true
	return write(a.out, &tar.Header{Name: name, Mode: 0o644}, content)
}

func (a *archive) close() error {
	manifest, err := json.Marshal(a.manifest)
	if err != nil {
		return err
	}
	if err := a.put("manifest.json", manifest); err != nil {
		return err
	}
	return a.out.Close()
}

type layerWriter struct {
	out  *tar.Writer
	dirs map[string]bool
}

// directory makes name and what it is in.
func (l layerWriter) directory(name string) error {
	at := ""
	for _, part := range strings.Split(path.Clean(name), "/") {
		at = path.Join(at, part)
		if at == "." || l.dirs[at] {
			continue
		}
		l.dirs[at] = true
		if err := l.out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: at + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	return nil
}

func (l layerWriter) add(source, target string) error {
	if source == "-" {
		return l.directory(target)
	}
	if strings.HasSuffix(source, "/") {
		return filepath.WalkDir(source, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(source, file)
			if err != nil {
				return err
			}
			return l.copy(file, path.Join(target, filepath.ToSlash(rel)), d.Type())
		})
	}
	if err := l.directory(path.Dir(target)); err != nil {
		return err
	}
	if to, ok := strings.CutPrefix(source, "->"); ok {
		return l.link(target, to)
	}
	return l.copy(source, target, 0)
}

func (l layerWriter) copy(file, target string, kind fs.FileMode) error {
	switch {
	case kind.IsDir():
		return l.directory(target)
	case kind&fs.ModeSymlink != 0:
		to, err := os.Readlink(file)
		if err != nil {
			return err
		}
		return l.link(target, to)
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return write(l.out, &tar.Header{Name: target, Mode: int64(info.Mode().Perm())}, content)
}

func (l layerWriter) link(name, to string) error {
	return l.out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777})
}

func write(w *tar.Writer, h *tar.Header, content []byte) error {
	h.Size = int64(len(content))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

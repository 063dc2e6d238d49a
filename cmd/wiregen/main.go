// Command wiregen turns the AWS SDK modules pinned in go.mod into the wire
// tables of api/<service>: `go run ./cmd/wiregen` rewrites them all, `-check`
// only says whether they are stale.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

// service is one line of the list of served APIs.
type service struct {
	// ID names the package api/<ID> and the service in the emulator.
	ID string
	// Module is the last element of the SDK module's path; empty means ID.
	Module string
	// Namespace is the XML namespace without the API version that ends it. The
	// SDK ignores namespaces, hence they can't be read from its modules.
	Namespace string
	// Times is how the service writes times in XML: "seconds" (no fraction),
	// "millis" (always three digits) or empty (three digits unless zero).
	Times string
}

// services is every API that ekslocal serves. A new one is one more line here
// and, for the query protocol, its HTTP statuses in statuses.go.
var services = []service{
	{ID: "autoscaling", Namespace: "http://autoscaling.amazonaws.com/doc/", Times: "millis"},
	{ID: "ec2", Namespace: "http://ec2.amazonaws.com/doc/", Times: "millis"},
	{ID: "eks"},
	{ID: "eksauth"},
	{ID: "elb", Module: "elasticloadbalancing", Namespace: "http://elasticloadbalancing.amazonaws.com/doc/", Times: "millis"},
	{ID: "elbv2", Module: "elasticloadbalancingv2", Namespace: "http://elasticloadbalancing.amazonaws.com/doc/", Times: "millis"},
	{ID: "events", Module: "eventbridge"},
	{ID: "iam", Namespace: "https://iam.amazonaws.com/doc/", Times: "seconds"},
	{ID: "kms"},
	{ID: "logs", Module: "cloudwatchlogs"},
	{ID: "sqs"},
	{ID: "ssm"},
	{ID: "sts", Namespace: "https://sts.amazonaws.com/doc/", Times: "seconds"},
}

func main() {
	log.SetFlags(0)
	check := flag.Bool("check", false, "report stale tables instead of writing them")
	out := flag.String("out", "api", "folder of the generated packages")
	flag.Parse()
	stale := false
	for _, s := range services {
		files, err := generate(context.Background(), s)
		if err != nil {
			log.Fatalf("wiregen: %s: %v", s.ID, err)
		}
		for name, want := range files {
			path := filepath.Join(*out, s.ID, name)
			got, err := os.ReadFile(path)
			if err == nil && bytes.Equal(got, want) {
				continue
			}
			if *check {
				stale = true
				log.Printf("wiregen: %s is stale: run go run ./cmd/wiregen", path)
				continue
			}
			if err := write(path, want); err != nil {
				log.Fatalf("wiregen: %v", err)
			}
		}
	}
	if stale {
		os.Exit(1)
	}
}

// generate returns the files of one service's package by name.
func generate(ctx context.Context, s service) (map[string][]byte, error) {
	if s.Module == "" {
		s.Module = s.ID
	}
	m, err := openModule(ctx, "github.com/aws/aws-sdk-go-v2/service/"+s.Module)
	if err != nil {
		return nil, err
	}
	t := &table{ID: s.ID, Module: m.Path, ModuleVersion: m.Version, Times: s.Times, shapes: map[string]*shape{}}
	if err := readClient(m, t); err != nil {
		return nil, err
	}
	if err := read(m, t); err != nil {
		return nil, err
	}
	if s.Namespace != "" {
		t.Namespace = s.Namespace + t.APIVersion + "/"
	}
	if err := t.addStatuses(statuses[s.ID]); err != nil {
		return nil, err
	}
	if t.unions, err = readUnions(m); err != nil {
		return nil, err
	}
	text, err := t.text()
	if err != nil {
		return nil, err
	}
	code, err := t.code()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"wire.txt": text, "model.go": code}, nil
}

// read chooses the reader by what the module's code generator left.
func read(m *module, t *table) error {
	if !m.has("serializers.go") {
		return readSchemas(m, t)
	}
	rest, err := isRESTJSON(m)
	if err != nil {
		return err
	}
	if rest {
		return readRESTJSON(m, t)
	}
	return readQuery(m, t)
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create the package's folder: %w", err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("write a generated file: %w", err)
	}
	return nil
}

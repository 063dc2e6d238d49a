// Package integration drives the real ekslocal binary with real clients: the AWS
// SDK, the aws command line, boto3, kubectl, client-go. `make test` runs it.
package integration

package cli

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// awsConfig is what an AWS SDK would use here; without any credentials it is
// test/test, which every emulator knows.
func awsConfig(ctx context.Context, region string) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region),
		// Asking a metadata service that is not there takes seconds.
		config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	if err != nil {
		return cfg, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return cfg, ctx.Err()
		}
		cfg.Credentials = builtin()
	}
	return cfg, nil
}

// builtin are the keys that every emulator knows.
func builtin() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider("test", "test", "")
}

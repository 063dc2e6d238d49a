package integration

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

func TestZZ(t *testing.T) {
	w := newWorld(t, startAs(t))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("LOG\n%s", lastLines(withoutRequests(w.log.String()), 100))
		}
	})
	for i := range 14 {
		c := w.cluster(t, "u", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.33") })
		_ = c
		must(w.eks.UpdateClusterVersion(t.Context(), &eks.UpdateClusterVersionInput{Name: aws.String("u"), Version: aws.String("1.34")}))(t)
		d := time.Duration(i) * 400 * time.Millisecond
		time.Sleep(d)
		w.kill()
		at := time.Now()
		w.run()
		time.Sleep(time.Duration(i%3) * 700 * time.Millisecond)
		w.kill()
		w.run()
		w.clusterIs(t, "u", ekstypes.ClusterStatusActive)
		t.Logf("killed %v after update: ACTIVE after %v", d, time.Since(at))
		must(w.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("u")}))(t)
		eventually(t, time.Minute, "gone", func() error {
			_, err := w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("u")})
			if errorAs[*ekstypes.ResourceNotFoundException](err) != nil {
				return nil
			}
			return context.Canceled
		})
	}
}

package logs

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func checkNames(group, stream *string) error {
	var c checks
	c.text("logGroupName", group, groupName, 1)
	c.text("logStreamName", stream, streamName, 1)
	return c.err()
}

// CreateLogStream implements the operation.
func (s *Service) CreateLogStream(ctx context.Context, in *cwl.CreateLogStreamInput, _ ...func(*cwl.Options)) (*cwl.CreateLogStreamOutput, error) {
	if err := checkNames(in.LogGroupName, in.LogStreamName); err != nil {
		return nil, err
	}
	sc, key := awsid.CallerFrom(ctx).Scope, streamKey(*in.LogGroupName, *in.LogStreamName)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if groups.Get(tx, sc, *in.LogGroupName) == nil {
			return noGroup()
		}
		if streams.Get(tx, sc, key) != nil {
			return &types.ResourceAlreadyExistsException{Message: aws.String("The specified log stream already exists")}
		}
		streams.Put(tx, sc, key, &stream{Group: *in.LogGroupName, Name: *in.LogStreamName, Created: s.millis()})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cwl.CreateLogStreamOutput{}, nil
}

// DeleteLogStream implements the operation.
func (s *Service) DeleteLogStream(ctx context.Context, in *cwl.DeleteLogStreamInput, _ ...func(*cwl.Options)) (*cwl.DeleteLogStreamOutput, error) {
	if err := checkNames(in.LogGroupName, in.LogStreamName); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		st, err := findStream(tx, sc, *in.LogGroupName, *in.LogStreamName)
		if err == nil {
			deleteStream(tx, sc, st)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &cwl.DeleteLogStreamOutput{}, nil
}

func findStream(r store.Reader, sc awsid.Scope, group, name string) (*stream, error) {
	if groups.Get(r, sc, group) == nil {
		return nil, noGroup()
	}
	st := streams.Get(r, sc, streamKey(group, name))
	if st == nil {
		return nil, noStream()
	}
	return st, nil
}

// deleteStream knows its chunks by their numbers: listing them would read them.
func deleteStream(tx *store.Tx, sc awsid.Scope, st *stream) {
	for n := st.Oldest; n < st.Next; n++ {
		chunks.Delete(tx, sc, chunkKey(st.key(), n))
	}
	streams.Delete(tx, sc, st.key())
}

// DescribeLogStreams implements the operation. storedBytes of a stream is always 0,
// as it has been since June 2019.
func (s *Service) DescribeLogStreams(ctx context.Context, in *cwl.DescribeLogStreamsInput, _ ...func(*cwl.Options)) (*cwl.DescribeLogStreamsOutput, error) {
	name, err := chosenGroup(ctx, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	var c checks
	c.optional("logStreamNamePrefix", in.LogStreamNamePrefix, streamName, 1)
	c.Span("limit", in.Limit, 1, 50)
	oneOf(&c, "orderBy", in.OrderBy, in.OrderBy.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	byTime := in.OrderBy == types.OrderByLastEventTime
	if byTime && in.LogStreamNamePrefix != nil {
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	sc := awsid.CallerFrom(ctx).Scope
	if groups.Get(s.store, sc, name) == nil {
		return nil, noGroup()
	}
	all := streams.ListPrefix(s.store, sc, streamKey(name, aws.ToString(in.LogStreamNamePrefix)))
	rank := func(st *stream) string { return st.Name }
	if byTime {
		rank = func(st *stream) string { return fmt.Sprintf("%020d %s", st.Last, st.Name) }
	}
	if aws.ToBool(in.Descending) {
		up := rank
		rank = func(st *stream) string { return complement(up(st)) } // pages go on where the order does
	}
	all, next, err := page(all, rank, in.NextToken, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &cwl.DescribeLogStreamsOutput{LogStreams: make([]types.LogStream, len(all)), NextToken: next}
	for i, st := range all {
		out.LogStreams[i] = st.describe(sc)
	}
	return out, nil
}

// complement turns the order of strings round.
func complement(s string) string {
	b := []byte(s + "\x00")
	for i := range b {
		b[i] = ^b[i]
	}
	return string(b)
}

func (s *stream) describe(sc awsid.Scope) types.LogStream {
	out := types.LogStream{
		LogStreamName: &s.Name, Arn: aws.String(groupARN(sc, s.Group) + ":log-stream:" + s.Name), CreationTime: &s.Created, StoredBytes: aws.Int64(0),
		FirstEventTimestamp: optionalMillis(s.First), LastEventTimestamp: optionalMillis(s.Last), LastIngestionTime: optionalMillis(s.Ingested),
	}
	if s.Events > 0 {
		out.UploadSequenceToken = s.token()
	}
	return out
}

// token is what PutLogEvents once asked for.
func (s *stream) token() *string {
	return aws.String(fmt.Sprintf("49%012d%042d", streamNumber(s.key()), s.Events))
}

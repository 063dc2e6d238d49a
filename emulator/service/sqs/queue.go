package sqs

import (
	"context"
	"encoding/base64"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	iampolicy "github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const fifoSuffix = ".fifo"

var queueName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,80}$`)

func checkName(name string, fifo bool) error {
	if name == "" {
		return missing("QueueName")
	}
	base, suffixed := strings.CutSuffix(name, fifoSuffix)
	// The suffix counts towards the 80 characters.
	if fifo && (!suffixed || !queueName.MatchString(base+"_fifo")) {
		return invalid("The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.")
	}
	if !fifo && !queueName.MatchString(name) {
		return invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	return nil
}

// url is the queue's URL at the address that the caller uses: it has to work for
// whoever asked, be that localhost, a container's name or a tunnel.
func (q *queue) url(ctx context.Context) *string {
	base := awsid.CallerFrom(ctx).Endpoint
	if base == "" {
		base = "https://sqs." + q.Scope.Region + "." + q.Scope.DNSSuffix()
	}
	return aws.String(base + "/" + q.Scope.Account + "/" + q.Name)
}

// parseURL reads a queue's account and name off its URL, whatever host that has.
func parseURL(ctx context.Context, queueURL *string) (awsid.Scope, string, error) {
	sc := awsid.CallerFrom(ctx).Scope
	if aws.ToString(queueURL) == "" {
		return sc, "", missing("QueueUrl")
	}
	path := *queueURL
	if u, err := url.Parse(*queueURL); err == nil && u.Host != "" {
		path = u.Path
		// AWS's own names say a region; any other host is whatever leads to here.
		if h := strings.Split(u.Host, "."); len(h) >= 4 && h[0] == "sqs" && h[2] == "amazonaws" && h[1] != sc.Region {
			return sc, "", badAddress(*queueURL)
		}
	}
	p := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(p) == 1 && p[0] != "" && !strings.Contains(*queueURL, "://"):
		return sc, p[0], nil // a bare name, which SQS takes too
	case len(p) < 2 || len(p[len(p)-2]) != 12:
		return sc, "", badAddress(*queueURL)
	}
	sc.Account = p[len(p)-2]
	return sc, p[len(p)-1], nil
}

// ownerOnly are the actions that no policy gives to other accounts ("Amazon SQS
// Developer Guide", basic examples of policies: limitations).
var ownerOnly = []string{
	"AddPermission", "DeleteQueue", "ListQueueTags", "RemovePermission", "SetQueueAttributes", "TagQueue", "UntagQueue",
}

// locate reads a queue's account and name off its URL, for an action that the
// caller's account may do to it: to its own queue, or to one whose policy says so.
func (s *Service) locate(ctx context.Context, queueURL *string, action string) (awsid.Scope, string, error) {
	sc, name, err := parseURL(ctx, queueURL)
	who := awsid.CallerFrom(ctx)
	if err != nil || sc.Account == who.Account {
		return sc, name, err
	}
	q := queues.Get(s.store, sc, name)
	if q == nil {
		return sc, name, noQueue()
	}
	doc, err := iampolicy.Parse(q.Attributes["Policy"])
	if err != nil || slices.Contains(ownerOnly, action) || doc.Evaluate(iampolicy.Request{
		Principal: iampolicy.Principal{ARN: who.ARN, RoleARN: who.RoleARN(), UserID: who.UserID, Account: who.Account}, Action: "sqs:" + action, Resource: q.arn(),
	}) != iampolicy.Allowed {
		return sc, name, denied(*queueURL)
	}
	return sc, name, nil
}

// find returns the queue of a URL.
func (s *Service) find(ctx context.Context, queueURL *string, action string) (*queue, error) {
	sc, name, err := s.locate(ctx, queueURL, action)
	if err != nil {
		return nil, err
	}
	q := queues.Get(s.store, sc, name)
	if q == nil {
		return nil, noQueue()
	}
	return q, nil
}

// edit changes a queue's record.
func (s *Service) edit(ctx context.Context, queueURL *string, action string, f func(tx *store.Tx, q *queue) error) (*queue, error) {
	sc, name, err := s.locate(ctx, queueURL, action)
	if err != nil {
		return nil, err
	}
	var q *queue
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if q = queues.Edit(tx, sc, name); q == nil {
			return noQueue()
		}
		if err := f(tx, q); err != nil {
			return err
		}
		queues.Put(tx, sc, name, q)
		return nil
	})
	return q, err
}

// CreateQueue implements the operation. A queue that is there already is answered
// if no attribute of the request differs from its own. (AWS refuses for 60
// seconds to make a queue again under the name of a deleted one; tests that make
// and delete their queue by name would crawl, so that is not modelled.)
func (s *Service) CreateQueue(ctx context.Context, in *sqs.CreateQueueInput, _ ...func(*sqs.Options)) (*sqs.CreateQueueOutput, error) {
	name := aws.ToString(in.QueueName)
	if err := checkName(name, in.Attributes["FifoQueue"] == "true"); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	var q *queue
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if q = queues.Get(tx, sc, name); q != nil {
			return q.same(in.Attributes)
		}
		now := s.clock.Now().UTC()
		q = &queue{Scope: sc, ID: awsid.NewUUID(), Name: name, Attributes: map[string]string{}, Tags: clone(in.Tags), Created: now, Modified: now}
		if err := setAttributes(tx, q, in.Attributes); err != nil {
			return err
		}
		queues.Put(tx, sc, name, q)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sqs.CreateQueueOutput{QueueUrl: q.url(ctx)}, nil
}

func (q *queue) same(attributes map[string]string) error {
	has := q.shown()
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		if attributes[k] != has[k] {
			return &types.QueueNameExists{Message: aws.String("A queue already exists with the same name and a different value for attribute " + k)}
		}
	}
	return nil
}

// GetQueueUrl implements the operation.
func (s *Service) GetQueueUrl(ctx context.Context, in *sqs.GetQueueUrlInput, _ ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	sc := awsid.CallerFrom(ctx).Scope
	if aws.ToString(in.QueueName) == "" {
		return nil, missing("QueueName")
	}
	if owner := aws.ToString(in.QueueOwnerAWSAccountId); owner != "" {
		sc.Account = owner
	}
	q := queues.Get(s.store, sc, *in.QueueName)
	if q == nil {
		return nil, noQueue()
	}
	if _, _, err := s.locate(ctx, q.url(ctx), "GetQueueUrl"); err != nil {
		return nil, err
	}
	return &sqs.GetQueueUrlOutput{QueueUrl: q.url(ctx)}, nil
}

// ListQueues implements the operation. Without MaxResults it answers up to 1000
// queues and no token.
func (s *Service) ListQueues(ctx context.Context, in *sqs.ListQueuesInput, _ ...func(*sqs.Options)) (*sqs.ListQueuesOutput, error) {
	limit := 1000
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
		if limit < 1 || limit > 1000 {
			return nil, invalidValue(limit, "MaxResults", "MaxResults must be an integer between 1 and 1000.")
		}
	}
	all := queues.ListPrefix(s.store, awsid.CallerFrom(ctx).Scope, aws.ToString(in.QueueNamePrefix))
	all, next, err := page(all, func(q *queue) string { return q.Name }, in.NextToken, limit)
	if err != nil {
		return nil, err
	}
	out := &sqs.ListQueuesOutput{}
	if in.MaxResults != nil {
		out.NextToken = next
	}
	for _, q := range all {
		out.QueueUrls = append(out.QueueUrls, *q.url(ctx))
	}
	return out, nil
}

// page cuts a page out of what is ordered by key. The token is the last key.
func page[T any](all []T, key func(T) string, token *string, limit int) ([]T, *string, error) {
	if t := aws.ToString(token); t != "" {
		last, err := base64.StdEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, invalid("Invalid or expired next token.")
		}
		n, found := slices.BinarySearchFunc(all, string(last), func(v T, last string) int { return strings.Compare(key(v), last) })
		if found {
			n++
		}
		all = all[n:]
	}
	if len(all) <= limit {
		return all, nil, nil
	}
	return all[:limit], aws.String(base64.StdEncoding.EncodeToString([]byte(key(all[limit-1])))), nil
}

// SetQueueAttributes implements the operation.
func (s *Service) SetQueueAttributes(ctx context.Context, in *sqs.SetQueueAttributesInput, _ ...func(*sqs.Options)) (*sqs.SetQueueAttributesOutput, error) {
	if in.Attributes == nil {
		return nil, missing("Attributes")
	}
	_, err := s.edit(ctx, in.QueueUrl, "SetQueueAttributes", func(tx *store.Tx, q *queue) error {
		q.Modified = s.clock.Now().UTC()
		return setAttributes(tx, q, in.Attributes)
	})
	if err != nil {
		return nil, err
	}
	return &sqs.SetQueueAttributesOutput{}, nil
}

// GetQueueAttributes implements the operation.
func (s *Service) GetQueueAttributes(ctx context.Context, in *sqs.GetQueueAttributesInput, _ ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	q, err := s.find(ctx, in.QueueUrl, "GetQueueAttributes")
	if err != nil {
		return nil, err
	}
	out := &sqs.GetQueueAttributesOutput{}
	if len(in.AttributeNames) == 0 {
		return out, nil
	}
	all := q.shown()
	maps.Copy(all, s.counts(q))
	if slices.Contains(in.AttributeNames, types.QueueAttributeNameAll) {
		out.Attributes = all
		return out, nil
	}
	out.Attributes = map[string]string{}
	for _, name := range in.AttributeNames {
		if !slices.Contains(name.Values(), name) {
			return nil, attributeName("Unknown Attribute %s.", name)
		}
		if v, ok := all[string(name)]; ok {
			out.Attributes[string(name)] = v
		}
	}
	if len(out.Attributes) == 0 {
		out.Attributes = nil // as SQS leaves the member out
	}
	return out, nil
}

func (s *Service) counts(q *queue) map[string]string {
	var visible, delayed, inFlight int
	now := s.clock.Now()
	for _, m := range held(s.store, q, now) {
		switch {
		case !m.Visible.After(now):
			visible++
		case m.Receipt == "":
			delayed++
		default:
			inFlight++
		}
	}
	return map[string]string{
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesDelayed":    strconv.Itoa(delayed),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(inFlight),
	}
}

// DeleteQueue implements the operation.
func (s *Service) DeleteQueue(ctx context.Context, in *sqs.DeleteQueueInput, _ ...func(*sqs.Options)) (*sqs.DeleteQueueOutput, error) {
	sc, name, err := s.locate(ctx, in.QueueUrl, "DeleteQueue")
	if err != nil {
		return nil, err
	}
	var q *queue
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if q = queues.Get(tx, sc, name); q == nil {
			return noQueue()
		}
		queues.Delete(tx, sc, name)
		sequences.Delete(tx, sc, q.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.drop(ctx, q)
	return &sqs.DeleteQueueOutput{}, nil
}

// drop removes the records of a queue's messages. Nobody sees them any more: if
// it fails, Run's sweep does the rest.
func (s *Service) drop(ctx context.Context, q *queue) {
	var old []store.Key
	for _, m := range messages.ListPrefix(s.store, q.Scope, q.ID+"/") {
		if now := queues.Get(s.store, q.Scope, q.Name); now == nil || now.ID != q.ID || now.gone(m, s.clock.Now()) {
			old = append(old, store.Key{Scope: q.Scope, ID: messageID(m.QueueID, m.Key)})
		}
	}
	if err := s.removeMessages(ctx, old); err != nil {
		s.log.Warn("sqs: messages stay for a while", "queue", q.Name, "error", err)
	}
}

// PurgeQueue implements the operation.
func (s *Service) PurgeQueue(ctx context.Context, in *sqs.PurgeQueueInput, _ ...func(*sqs.Options)) (*sqs.PurgeQueueOutput, error) {
	q, err := s.edit(ctx, in.QueueUrl, "PurgeQueue", func(_ *store.Tx, q *queue) error {
		now := s.clock.Now().UTC()
		if now.Sub(q.Purged).Seconds() < 60 {
			return &types.PurgeQueueInProgress{Message: aws.String("Only one PurgeQueue operation on " + q.Name + " is allowed every 60 seconds.")}
		}
		q.Purged = now
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.drop(ctx, q)
	return &sqs.PurgeQueueOutput{}, nil
}

package logs

import (
	"context"
	"encoding/base64"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	defaultEvents = 10000
	// maxAnswer bounds a page by its bytes, as AWS does.
	maxAnswer = 1 << 20
)

// found is an event with its place among a group's.
type found struct {
	event
	id     string
	stream string
}

// span is a range of time, both ends included.
type span struct{ from, to int64 }

// read returns a stream's events of a range, in order.
func (s *Service) read(r store.Reader, sc awsid.Scope, st *stream, in span) ([]found, error) {
	number := streamNumber(st.key())
	var out []found
	for n := st.Oldest; n < st.Next; n++ {
		c := chunks.Get(r, sc, chunkKey(st.key(), n))
		if c == nil || c.Last < in.from || c.First > in.to {
			continue
		}
		events, err := c.events()
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if e.Time >= in.from && e.Time <= in.to {
				out = append(out, found{e, e.id(number), st.Name})
			}
		}
	}
	slices.SortFunc(out, func(a, b found) int { return strings.Compare(a.id, b.id) })
	return out, nil
}

// retained is the range that a request asks for, without what has expired.
func (s *Service) retained(g *group, from, to *int64) span {
	in := span{0, math.MaxInt64}
	if from != nil {
		in.from = *from
	}
	if to != nil {
		in.to = *to
	}
	if g.Retention > 0 {
		in.from = max(in.from, s.clock.Now().Add(-time.Duration(g.Retention)*day).UnixMilli())
	}
	return in
}

var positionToken = regexp.MustCompile(`^([fb])/([0-9]{56})/s$`)

// next and previous are the ids beside one.
func beside(id string, by int64) string {
	n, ok := new(big.Int).SetString(id, 10)
	if !ok {
		return id
	}
	s := n.Add(n, big.NewInt(by)).String()
	return strings.Repeat("0", max(0, 56-len(s))) + s
}

func checkTimes(c *checks, from, to *int64) {
	for member, v := range map[string]*int64{"startTime": from, "endTime": to} {
		if v != nil && *v < 0 {
			c.Add("'"+big.NewInt(*v).String()+"'", member, "Member must have value greater than or equal to 0")
		}
	}
}

// GetLogEvents implements the operation. A forward token f/<id>/s stands behind
// the event with that id, a backward token b/<id>/s before it; at the end of a
// stream the same token comes again.
func (s *Service) GetLogEvents(ctx context.Context, in *cwl.GetLogEventsInput, _ ...func(*cwl.Options)) (*cwl.GetLogEventsOutput, error) {
	name, err := chosenGroup(ctx, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	var c checks
	c.text("logStreamName", in.LogStreamName, streamName, 1)
	c.Span("limit", in.Limit, 1, defaultEvents)
	checkTimes(&c, in.StartTime, in.EndTime)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	st, err := findStream(s.store, sc, name, *in.LogStreamName)
	if err != nil {
		return nil, err
	}
	in2 := s.retained(groups.Get(s.store, sc, name), in.StartTime, in.EndTime)
	if in.EndTime != nil {
		in2.to-- // this operation's end is not in its range
	}
	var all []found
	s.store.View(func(r store.Reader) { all, err = s.read(r, sc, st, in2) })
	if err != nil {
		return nil, err
	}
	page, forward, backward, err := cut(all, in.NextToken, aws.ToBool(in.StartFromHead), limitOf(in.Limit))
	if err != nil {
		return nil, err
	}
	out := &cwl.GetLogEventsOutput{Events: make([]types.OutputLogEvent, len(page)), NextForwardToken: &forward, NextBackwardToken: &backward}
	for i := range page {
		out.Events[i] = types.OutputLogEvent{Timestamp: &page[i].Time, IngestionTime: &page[i].Ingested, Message: &page[i].Message}
	}
	return out, nil
}

func limitOf(n *int32) int {
	if n == nil {
		return defaultEvents
	}
	return int(*n)
}

// cut takes a page of events at a token's place, or at one end without a token.
func cut(all []found, token *string, head bool, limit int) (page []found, forward, backward string, err error) {
	ahead, at := head, ""
	if token != nil {
		m := positionToken.FindStringSubmatch(*token)
		if m == nil {
			return nil, "", "", badToken()
		}
		ahead, at = m[1] == "f", m[2]
	}
	if ahead {
		i, _ := slices.BinarySearchFunc(all, at, func(f found, id string) int { return strings.Compare(f.id, id) })
		if i < len(all) && all[i].id == at {
			i++
		}
		page = upTo(all[i:], limit)
	} else {
		i := len(all)
		if at != "" {
			i, _ = slices.BinarySearchFunc(all, at, func(f found, id string) int { return strings.Compare(f.id, id) })
		}
		page = lastOf(all[:i], limit)
	}
	if len(page) > 0 {
		return page, "f/" + page[len(page)-1].id + "/s", "b/" + page[0].id + "/s", nil
	}
	if at == "" {
		at = strings.Repeat("0", 56)
		ahead = true
	}
	if ahead {
		return nil, "f/" + at + "/s", "b/" + beside(at, 1) + "/s", nil
	}
	return nil, "f/" + beside(at, -1) + "/s", "b/" + at + "/s", nil
}

func upTo(list []found, limit int) []found {
	n, size := 0, int64(0)
	for n < len(list) && n < limit && (n == 0 || size+list[n].size() <= maxAnswer) {
		size += list[n].size()
		n++
	}
	return list[:n]
}

func lastOf(list []found, limit int) []found {
	n, size := len(list), int64(0)
	for n > 0 && len(list)-n < limit && (n == len(list) || size+list[n-1].size() <= maxAnswer) {
		n--
		size += list[n].size()
	}
	return list[n:]
}

// FilterLogEvents implements the operation. Events of all streams come interleaved,
// whatever the request says, as they do since June 2019.
func (s *Service) FilterLogEvents(ctx context.Context, in *cwl.FilterLogEventsInput, _ ...func(*cwl.Options)) (*cwl.FilterLogEventsOutput, error) {
	name, err := chosenGroup(ctx, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	var c checks
	c.Span("limit", in.Limit, 1, defaultEvents)
	c.optional("logStreamNamePrefix", in.LogStreamNamePrefix, streamName, 1)
	c.optional("filterPattern", in.FilterPattern, filterText, 0)
	checkTimes(&c, in.StartTime, in.EndTime)
	if err := c.err(); err != nil {
		return nil, err
	}
	if len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil {
		return nil, invalid("LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.")
	}
	after, err := filterToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	match, err := compile(aws.ToString(in.FilterPattern))
	if err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	var all []found
	s.store.View(func(r store.Reader) { all, err = s.search(r, sc, name, in) })
	if err != nil {
		return nil, err
	}
	i, _ := slices.BinarySearchFunc(all, after, func(f found, id string) int { return strings.Compare(f.id, id) })
	if i < len(all) && all[i].id == after {
		i++
	}
	hits := make([]found, 0, min(len(all)-i, limitOf(in.Limit)))
	for _, f := range all[i:] {
		if match(f.Message) {
			hits = append(hits, f)
		}
	}
	page := upTo(hits, limitOf(in.Limit))
	out := &cwl.FilterLogEventsOutput{Events: make([]types.FilteredLogEvent, len(page)), SearchedLogStreams: []types.SearchedLogStream{}}
	for i := range page {
		f := &page[i]
		out.Events[i] = types.FilteredLogEvent{LogStreamName: &f.stream, Timestamp: &f.Time, IngestionTime: &f.Ingested, Message: &f.Message, EventId: &f.id}
	}
	if len(page) < len(hits) {
		out.NextToken = aws.String(base64.StdEncoding.EncodeToString([]byte(page[len(page)-1].id)))
	}
	return out, nil
}

var eventID = regexp.MustCompile(`^[0-9]{56}$`)

// filterToken is the id of the last event of the page before.
func filterToken(token *string) (string, error) {
	if token == nil {
		return "", nil
	}
	id, err := base64.StdEncoding.DecodeString(*token)
	if err != nil || !eventID.Match(id) {
		return "", badToken()
	}
	return string(id), nil
}

// search returns the events of the streams that a request names.
func (s *Service) search(r store.Reader, sc awsid.Scope, name string, in *cwl.FilterLogEventsInput) ([]found, error) {
	g := groups.Get(r, sc, name)
	if g == nil {
		return nil, noGroup()
	}
	var list []*stream
	if len(in.LogStreamNames) > 0 {
		for _, n := range in.LogStreamNames {
			st := streams.Get(r, sc, streamKey(name, n))
			if st == nil {
				return nil, noStream()
			}
			list = append(list, st)
		}
	} else {
		list = streams.ListPrefix(r, sc, streamKey(name, aws.ToString(in.LogStreamNamePrefix)))
	}
	var all []found
	for _, st := range list {
		part, err := s.read(r, sc, st, s.retained(g, in.StartTime, in.EndTime))
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.id, b.id) })
	return all, nil
}

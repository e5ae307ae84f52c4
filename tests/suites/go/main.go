// What an application does with segmentio/kafka-go; prints `name<TAB>pass|fail<TAB>detail` for each step.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
)

const perCodec = 40

var codecs = []compress.Compression{compress.None, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd}

type suite struct {
	ctx    context.Context
	addrs  []string
	topic  string
	group  string
	client *kafka.Client
}

func (s *suite) total() int { return perCodec * len(codecs) }

func eventually(limit time.Duration, probe func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := probe()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *suite) createTopic() error {
	answer, err := s.client.CreateTopics(s.ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: s.topic, NumPartitions: 2, ReplicationFactor: replicationFactor()}}})
	if err != nil {
		return err
	}
	if answer.Errors[s.topic] != nil {
		return answer.Errors[s.topic]
	}
	return eventually(20*time.Second, func() error {
		m, err := s.client.Metadata(s.ctx, &kafka.MetadataRequest{Topics: []string{s.topic}})
		if err != nil {
			return err
		}
		if len(m.Topics) != 1 || m.Topics[0].Error != nil || len(m.Topics[0].Partitions) != 2 {
			return fmt.Errorf("metadata: %+v", m.Topics)
		}
		return nil
	})
}

func (s *suite) produceInAllCompressions() error {
	for _, codec := range codecs {
		w := kafka.Writer{Addr: kafka.TCP(s.addrs...), Topic: s.topic, Balancer: &kafka.RoundRobin{}, RequiredAcks: kafka.RequireAll, Compression: codec, BatchTimeout: 5 * time.Millisecond}
		var batch []kafka.Message
		for i := 0; i < perCodec; i++ {
			key := fmt.Sprintf("%v/%d", codec, i)
			batch = append(batch, kafka.Message{Key: []byte(key), Value: bytes.Repeat([]byte(key), 30), Headers: []kafka.Header{{Key: "h", Value: []byte{255, 0}}}})
		}
		if err := errors.Join(w.WriteMessages(s.ctx, batch...), w.Close()); err != nil {
			return fmt.Errorf("%v: %w", codec, err)
		}
	}
	return nil
}

func (s *suite) consumeInGroup() error {
	ctx, cancel := context.WithTimeout(s.ctx, 40*time.Second)
	defer cancel()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: s.addrs, GroupID: s.group, Topic: s.topic, StartOffset: kafka.FirstOffset, MaxWait: 200 * time.Millisecond})
	defer r.Close()
	seen := map[string]bool{}
	for len(seen) < s.total() {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return fmt.Errorf("after %d records: %w", len(seen), err)
		}
		if !bytes.Equal(m.Value, bytes.Repeat(m.Key, 30)) || len(m.Headers) != 1 {
			return fmt.Errorf("damaged record %q", m.Key)
		}
		seen[string(m.Key)] = true
		if err := r.CommitMessages(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) committedOffsets() error {
	answer, err := s.client.OffsetFetch(s.ctx, &kafka.OffsetFetchRequest{GroupID: s.group, Topics: map[string][]int{s.topic: {0, 1}}})
	if err != nil {
		return err
	}
	sum := 0
	for _, p := range answer.Topics[s.topic] {
		sum += int(p.CommittedOffset)
	}
	if sum != s.total() {
		return fmt.Errorf("committed %d of %d", sum, s.total())
	}
	return nil
}

func (s *suite) offsets() error {
	answer, err := s.client.ListOffsets(s.ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{s.topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}}})
	if err != nil {
		return err
	}
	if p := answer.Topics[s.topic][0]; p.FirstOffset != 0 || p.LastOffset != int64(s.total()/2) {
		return fmt.Errorf("%+v", p)
	}
	return nil
}

func (s *suite) describeGroup() error {
	answer, err := s.client.DescribeGroups(s.ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{s.group}})
	if err != nil {
		return err
	}
	return answer.Groups[0].Error
}

func (s *suite) deleteTopic() error {
	answer, err := s.client.DeleteTopics(s.ctx, &kafka.DeleteTopicsRequest{Topics: []string{s.topic}})
	if err != nil {
		return err
	}
	return answer.Errors[s.topic]
}

func replicationFactor() int {
	if factor, err := strconv.Atoi(os.Getenv("RF")); err == nil {
		return factor
	}
	return 1
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	addrs := strings.Split(os.Getenv("BROKERS"), ",")
	topic := fmt.Sprintf("kafka-go-%d", time.Now().UnixNano())
	s := &suite{ctx: ctx, addrs: addrs, topic: topic, group: topic + "-group", client: &kafka.Client{Addr: kafka.TCP(addrs...), Timeout: 15 * time.Second}}
	steps := []struct {
		name string
		run  func() error
	}{
		{"create_topic", s.createTopic}, {"produce_in_all_compressions", s.produceInAllCompressions}, {"consume_in_group", s.consumeInGroup},
		{"committed_offsets", s.committedOffsets}, {"offsets", s.offsets}, {"describe_group", s.describeGroup}, {"delete_topic", s.deleteTopic},
	}
	failed := false
	for _, step := range steps {
		line := "pass\t"
		if err := step.run(); err != nil {
			failed = true
			line = "fail\t" + strings.Join(strings.Fields(err.Error()), " ")
		}
		fmt.Printf("kafka-go.%s\t%s\n", step.name, line)
	}
	if failed {
		os.Exit(1)
	}
}

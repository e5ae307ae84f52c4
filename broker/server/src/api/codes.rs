//! Every mapping from an error of a room below to Kafka's error code. Each is
//! exhaustive, so that a new error cannot be forgotten here.

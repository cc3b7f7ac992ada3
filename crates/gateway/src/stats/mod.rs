//! Counters and latency histograms that request paths write and the control plane reads.

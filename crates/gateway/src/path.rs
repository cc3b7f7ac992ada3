//! Request targets: parsed and normalised once, then routed and forwarded in that same form.

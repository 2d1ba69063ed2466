//! Ejecting a worker by the outcomes of requests.

//! Every set of this CPU against `generic` or an f64 reference, over the lengths where vector code goes wrong.

#[path = "sets/attention.rs"]
mod attention;
#[path = "sets/data.rs"]
mod data;
#[path = "sets/float.rs"]
mod float;
#[path = "sets/gemm.rs"]
mod gemm;
#[path = "sets/products.rs"]
mod products;
#[path = "sets/quantize.rs"]
mod quantize;

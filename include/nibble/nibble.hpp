#pragma once

/// nibble: quantized tensor containers for host inference engines.
///
/// A program that packs a weight, opens the file and multiplies by the packed blocks:
///
///   #include <nibble/nibble.hpp>
///   #include <cstdio>
///   #include <vector>
///
///   int main() {
///     std::vector<float> weights(576 * 576, 0.02F), x(576, 1.0F), y(576);
///     nibble::writer out;
///     out.metadata()["architecture"] = "llama";
///     out.add<nibble::q4>("q_proj.weight", {576, 576}, weights);  // [outputs, inputs], row-major
///     out.write("model.apr");
///
///     const nibble::reader in("model.apr");
///     nibble::matmul(in["q_proj.weight"], x, y);                  // y = x * w^T, on the blocks
///     std::printf("%f\n", y[0]);
///   }
///
/// What the bytes are (little-endian; N elements; a row is the last dimension):
///
///   encoding  block     bytes  blocks run along  value of an element
///   q8        32        36     row               scale * q + min        f16 scale, f16 min, u8 q[32]
///   q4        32        20     row               scale * q + min        f16 scale, f16 min, u8 p[16]:
///                                                q[j] = p[j] & 15, q[j + 16] = p[j] >> 4
///   apr_q8    tensor    4 + N  tensor            scale * q              f32 scale, i8 q[N]
///   apr_q4    32        18     tensor            scale * (q - 8)        f16 scale, u8 p[16]:
///                                                q[2j] = p[j] & 15, q[2j + 1] = p[j] >> 4
///   f32 f16 bf16 f64 i32 i64 i8 u8               the number itself; in safetensors also i16 u16 u32
///                                                u64 bool8, and listed only: c64 and 8-, 6-, 4-bit
///                                                floats
///
/// The block encodings of GGUF files (q4_0 to q6_k, iq1_s to iq4_xs, tq1_0, tq2_0, mxfp4, nvfp4, q1_0,
/// q2_0) are read, kept and multiplied by, too. core/encoding.hpp has one table of all figures, codec/ one file for each
/// encoding, format/ the layouts of files. Other programs read .apr files that hold apr_q4, apr_q8, f16
/// and f32; this library alone reads those that hold q4 or q8.
///
/// What there is to call:
///
///   writer.hpp              nibble::writer: add(), add_stored(), metadata(), write(). add() takes floats
///                           or a nibble::row_source, which fills rows on demand, from any thread
///   reader.hpp              nibble::reader: [name], find(), iteration, metadata(), verify();
///                           nibble::reader::open_set() opens several files that hold one model
///   checkpoint.hpp          nibble::checkpoint: a reader of folders as model hubs serve them, with
///                           config.json and tokenizer.json as metadata. Include it by itself
///   checkpoint/importance.hpp  nibble::importance: how much each column of a weight counts, as
///                           llama-imatrix gathers it, for quantize_options::column_importance. Include
///                           it by itself
///   verify.hpp              nibble::verify(in), nibble::verify(in, name): checksums and values;
///                           nibble::examine() lists what they find
///   source_reader.hpp       nibble::source_reader: the same for bytes that you fetch; load(name) and
///                           load_rows(name, first_row, row_count) read them. Include it by itself
///   core/tensor_view.hpp    nibble::tensor_view: name, encoding, shape, offset, packing ratio,
///                           checksum, bytes, rows()
///   compute/dequantize.hpp  nibble::dequantize(view, floats),
///                           nibble::dequantize_rows(view, first_row, row_count, floats)
///   compute/matmul.hpp      nibble::matmul(view, x, y, {.mode = nibble::matmul_mode::int8}), and with
///                           bias, strides, scratch, and several weights of one x
///   compute/repack.hpp      nibble::repack(view, mode): a copy that products are faster with;
///                           a nibble::weight_memory holds those of many weights
///   compute/quantize.hpp    nibble::quantize(encoding, shape, floats, bytes)
///   compute/executor.hpp    nibble::executor: run all of it on threads of yours; an engine runs it
///                           some 150 times a token. compute/thread_pool.hpp, openmp_executor.hpp and
///                           tbb_executor.hpp have such threads. Include them by themselves
///   core/error.hpp          nibble::error: the one exception; nibble::error_code: its codes
///
/// Under -ffast-math, include what you read with (reader.hpp, compute/...) and not this file: packing
/// refuses to be compiled so.
#include <nibble/compute/convert.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>
#include <nibble/version.hpp>
#include <nibble/writer.hpp>

#include <nibble/reader.hpp>
#include <nibble/verify.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>

using nibble::reader;
using nibble_test::apr_file;
using nibble_test::apr_tensor;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nibble_test::put_number;
using nibble_test::recorded_sample;
using nibble_test::tame_tensor;

static_assert(!std::is_copy_constructible_v<reader>);
static_assert(!std::is_convertible_v<std::string, reader>);

namespace {

using file_bytes = std::vector<std::byte>;

file_bytes of_floats(const std::vector<float>& values) {
  file_bytes bytes(values.size() * 4);
  for (std::size_t i = 0; i < values.size(); ++i) {
    put_number(bytes, 4 * i, std::bit_cast<std::uint32_t>(values[i]));
  }
  return bytes;
}

file_bytes safetensors_sample() {
  const std::string header =
      R"({"__metadata__":{"k":"v"},"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
      R"("x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
      R"("z":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[12,14]}})";
  file_bytes file;
  nibble_test::append_number(file, std::uint64_t{header.size()});
  const auto text = nibble_test::bytes_of(header);
  file.insert(file.end(), text.begin(), text.end());
  const auto data = nibble_test::bytes_of_hex("003c00c0 0000803f 0000c03f 0102");
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

}  // namespace

TEST_CASE("a file is opened by what it holds, not by what it is called", "[reader]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "model.safetensors", recorded_sample().bytes());
  nibble_test::write_file(folder / "model.apr", safetensors_sample());
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    const reader apr(folder / "model.safetensors", how);
    CHECK(apr.container() == nibble::container::apr);
    CHECK(apr.size() == 9);
    CHECK(apr.name() == folder / "model.safetensors");
    CHECK(apr.metadata()["architecture"] == "llama");
    CHECK(apr.file_bytes() == recorded_sample().bytes().size());
    const reader safetensors((folder / "model.apr").c_str(), how);
    CHECK(safetensors.container() == nibble::container::safetensors);
    CHECK(safetensors.metadata() == nlohmann::json{{"k", "v"}});
  }
}

TEST_CASE("a GGUF file is opened by its first bytes, in the order of its tensors' bytes", "[reader]") {
  auto sample = nibble_test::sample_gguf_file();
  for (std::size_t i = 0; i < sample.tensors.size(); ++i) {
    sample.tensors[i].offset = 512 * (sample.tensors.size() - 1 - i);
  }
  const auto file = sample.bytes();
  const reader in(file);
  CHECK(in.container() == nibble::container::gguf);
  CHECK(in.metadata_text().empty());
  CHECK(in.metadata()["general.architecture"] == "llama");
  CHECK(in.size() == 8);
  CHECK(in.tensors().front().name() == "last");
  CHECK(in.tensors().back().name() == "token_embd.weight");
  for (const auto& tensor : sample.tensors) {
    const nibble::tensor_view* const view = in.find(tensor.name);
    REQUIRE(view != nullptr);
    CHECK(std::ranges::equal(view->bytes().first(tensor.bytes.size()), tensor.bytes));
  }
  std::vector<float> values(15);
  nibble::dequantize(in["token_embd.weight"], values);
  CHECK(std::ranges::equal(std::as_bytes(std::span(values)), in["token_embd.weight"].bytes()));
  CHECK(outcome_of([&] { static_cast<void>(in["other"].encoding()); }).code == "unsupported_encoding");
  CHECK(missing_parts(outcome_of([&] { static_cast<void>(in["other"].encoding()); }).message,
                      {"'other'", "id 36"})
            .empty());
}

TEST_CASE("what is no container is refused with its first bytes", "[reader]") {
  const nibble_test::temporary_directory folder;
  const auto opened = [&](std::string_view text) {
    nibble_test::write_file(folder / "file", nibble_test::bytes_of(text));
    return outcome_of([&] { reader(folder / "file"); });
  };
  const outcome text = opened("GGML, the old one");
  CHECK(text.code == "unknown_container");
  CHECK(missing_parts(text.message,
                      {folder / "file", "47 47 4d 4c", "41 50 52 00", "47 47 55 46", "safetensors"})
            .empty());
  CHECK(opened("APR").code == "unknown_container");
  CHECK(opened("APR1, the old one").code == "unknown_container");
  const outcome empty = opened("");
  CHECK(empty.code == "unknown_container");
  CHECK(missing_parts(empty.message, {"an empty file"}).empty());
}

TEST_CASE("a path that cannot be opened is refused by name", "[reader]") {
  const nibble_test::temporary_directory folder;
  const outcome missing = outcome_of([&] { reader(folder / "none.apr"); });
  CHECK(missing.code == "file_not_found");
  CHECK(missing_parts(missing.message, {folder / "none.apr"}).empty());
  CHECK(outcome_of([&] { reader(folder.path().string()); }).code == "read_failed");
}

TEST_CASE("errors inside a file name the file, or what the bytes were called", "[reader]") {
  const nibble_test::temporary_directory folder;
  file_bytes file = recorded_sample().bytes();
  file.resize(file.size() - 30);
  nibble_test::write_file(folder / "cut.apr", file);
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    const outcome from_path = outcome_of([&] { reader(folder / "cut.apr", how); });
    CHECK(from_path.code == "truncated");
    CHECK(missing_parts(from_path.message, {(folder / "cut.apr") + ": "}).empty());
  }
  CHECK(outcome_of([&] { reader(std::span<const std::byte>(file)); }).message.starts_with("memory: "));
  CHECK(outcome_of([&] { reader(file, "blob"); }).message.starts_with("blob: "));
}

TEST_CASE("a recorded file cut short on the disk is refused under both policies", "[reader]") {
  const nibble_test::temporary_directory folder;
  const file_bytes whole = recorded_sample().bytes();
  const std::string path = folder / "file.apr";
  for (std::size_t size = 0; size < whole.size();
       size += size < 70 || whole.size() - size < 70 ? 1 : 41) {
    nibble_test::write_file(path, std::span(whole).first(size));
    for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
      const outcome result = outcome_of([&] { reader(path, how); });
      CAPTURE(size);
      CHECK((result.code == "truncated" || result.code == "missing_footer" ||
             (size < 4 && result.code == "unknown_container")));
      CHECK(missing_parts(result.message, {path}).empty());
    }
  }
}

TEST_CASE("tensors come in the order of their bytes and are found by name", "[reader]") {
  // In the index a, b, c, d; in the file c, a, d, b; d and the empty e share an offset.
  apr_file file{
      .tensors = {{.name = "a", .dimensions = {4}, .bytes = of_floats({1, 2, 3, 4}), .offset = 64},
                  {.name = "b", .dimensions = {1}, .bytes = of_floats({5}), .offset = 192},
                  {.name = "c", .dimensions = {2}, .bytes = of_floats({6, 7}), .offset = 0},
                  {.name = "d", .dimensions = {1}, .bytes = of_floats({8}), .offset = 128},
                  {.name = "e", .dimensions = {0}, .offset = 128}}};
  const file_bytes bytes = file.bytes();
  const reader in(bytes);
  std::string names;
  for (const nibble::tensor_view& tensor : in) names += tensor.name();
  CHECK(names == "caedb");
  CHECK(in.tensors().size() == 5);
  CHECK(std::distance(in.begin(), in.end()) == 5);
  for (const apr_tensor& tensor : file.tensors) {
    const nibble::tensor_view* const found = in.find(tensor.name);
    REQUIRE(found != nullptr);
    CHECK(found->name() == tensor.name);
    CHECK(std::ranges::equal(found->bytes(), tensor.bytes));
    CHECK(&in[tensor.name] == found);
    CHECK(in.contains(tensor.name));
  }
  CHECK(in.find("") == nullptr);
  CHECK(in.find("aa") == nullptr);
  CHECK(in.find("z") == nullptr);
  CHECK_FALSE(in.contains("A"));
}

TEST_CASE("views say what the format says of their tensors", "[reader]") {
  const apr_file file = recorded_sample();
  const file_bytes bytes = file.bytes();
  const reader in(bytes);
  const auto data_offset = nibble_test::number_at<std::uint64_t>(bytes, 32);
  std::uint64_t offset = data_offset;
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    const apr_tensor& tensor = file.tensors[i];
    const nibble::tensor_view& view = in[tensor.name];
    CHECK(std::ranges::equal(view.shape().dimensions(), tensor.dimensions));
    CHECK(view.dtype_id() == static_cast<std::uint32_t>(tensor.dtype_id));
    CHECK(view.file_offset_bytes() == offset);
    CHECK(view.alignment_bytes() >= 64);
    CHECK(std::ranges::equal(view.bytes(), tensor.bytes));
    CHECK(view.bytes().data() == bytes.data() + offset);
    if (tensor.bytes.empty()) {
      CHECK_FALSE(view.packing_ratio().has_value());
    } else {
      CHECK(view.packing_ratio() ==
            4.0 * static_cast<double>(view.elements()) / static_cast<double>(tensor.bytes.size()));
    }
    offset += (tensor.bytes.size() + 63) / 64 * 64;
  }
  CHECK(in["g.q4"].dtype_text() == "q4");
  CHECK(in["g.q4"].dtype_id() == 8U);
}

TEST_CASE("a view's alignment is that of its place in the file", "[reader]") {
  const auto alignment_at = [](std::uint64_t offset) {
    // Metadata that fills 64 bytes, an index of one entry: the data starts at 192.
    const file_bytes file =
        apr_file{
            .tensors = {{.name = "w", .dimensions = {1}, .bytes = of_floats({1}), .offset = offset}}}
            .bytes();
    REQUIRE(nibble_test::number_at<std::uint64_t>(file, 32) == 192);
    return reader(file)["w"].alignment_bytes();
  };
  CHECK(alignment_at(0) == 64);
  CHECK(alignment_at(1) == 1);
  CHECK(alignment_at(4) == 4);
  CHECK(alignment_at(64) == 256);
  CHECK(alignment_at(8192 - 192) == 4096);
}

TEST_CASE("a name that is not there is answered with the nearest", "[reader]") {
  const file_bytes file =
      apr_file{.tensors = {tame_tensor("layers.0.k_proj.weight", "f32", {1}),
                           tame_tensor("layers.0.q_proj.weight", "f32", {1}),
                           tame_tensor("layers.1.q_proj.weight", "f32", {1}),
                           tame_tensor("lm_head", "f32", {1}), tame_tensor("norm.weight", "f32", {1})}}
          .bytes();
  const reader in(file, "the file");
  const outcome result = outcome_of([&] { static_cast<void>(in["layers.0.q_proj.weigth"]); });
  CHECK(result.code == "no_such_tensor");
  CHECK(missing_parts(result.message,
                      {"the file", "'layers.0.q_proj.weigth'", "perhaps 'layers.0.q_proj.weight' or "})
            .empty());
  CHECK(result.message.find("lm_head") == std::string::npos);
  const outcome near_head = outcome_of([&] { static_cast<void>(in["lm.head"]); });
  CHECK(missing_parts(near_head.message, {"perhaps 'lm_head'"}).empty());
  const outcome unnamed = outcome_of([&] { static_cast<void>(in[""]); });
  CHECK(unnamed.code == "no_such_tensor");
  const file_bytes nothing = apr_file{}.bytes();
  const outcome none = outcome_of([&] { static_cast<void>(reader(nothing)["w"]); });
  CHECK(none.code == "no_such_tensor");
  CHECK(missing_parts(none.message, {"no tensors"}).empty());
}

TEST_CASE("views and names stay valid when their reader moves", "[reader]") {
  const nibble_test::temporary_directory folder;
  const apr_file file = recorded_sample();
  nibble_test::write_file(folder / "file.apr", file.bytes());
  nibble_test::write_file(folder / "other.apr", apr_file{}.bytes());
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    std::optional<reader> first(std::in_place, folder / "file.apr", how);
    const nibble::tensor_view& view = (*first)["g.q4"];
    const std::string_view name = view.name();
    const std::string_view text = first->metadata_text();
    reader second(std::move(*first));
    first.reset();
    reader third(folder / "other.apr", how);
    third = std::move(second);
    CHECK(name == "g.q4");
    CHECK(text == file.metadata);
    CHECK(&third["g.q4"] == &view);
    CHECK(std::ranges::equal(view.bytes(), file.tensors[6].bytes));
    CHECK(third.name() == folder / "file.apr");
    CHECK_NOTHROW(third.verify());
  }
}

TEST_CASE("dtypes that are not known are listed with their bytes, and decoding names them",
          "[reader]") {
  for (const int id : {15, 31, 33, 43, 77, 127, 130, 255}) {
    const auto stored = nibble_test::bytes_of_hex("0102030405");
    const file_bytes file =
        apr_file{.tensors = {{.name = "odd", .dtype_id = id, .dimensions = {3, 4}, .bytes = stored}}}
            .bytes();
    const reader in(file);
    const nibble::tensor_view& view = in["odd"];
    CHECK_FALSE(view.has_encoding());
    CHECK(view.dtype_id() == static_cast<std::uint32_t>(id));
    CHECK(view.dtype_text() == fmt::format("id {}", id));
    CHECK(view.shape() == nibble::shape{3, 4});
    CHECK(std::ranges::equal(view.bytes(), stored));
    std::vector<float> values(12);
    const outcome decoded = outcome_of([&] { nibble::dequantize(view, values); });
    CHECK(decoded.code == "unsupported_encoding");
    CHECK(missing_parts(decoded.message, {"'odd'", fmt::format("id {}", id)}).empty());
    const auto findings = in.examine();
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].severity == nibble::finding::kind::note);
    CHECK(findings[0].tensor == "odd");
    CHECK(findings[0].field == "dtype");
    CHECK(missing_parts(findings[0].text, {fmt::format("id {}", id)}).empty());
    CHECK_NOTHROW(in.verify());
  }
}

TEST_CASE("what has no codec is listed, and decoding names the encoding", "[reader]") {
  const file_bytes file = apr_file{.tensors = {tame_tensor("k", "q4_k", {2, 256})}}.bytes();
  const reader in(file);
  CHECK(in["k"].encoding() == nibble::encoding::q4_k);
  if (nibble::is_decodable(nibble::encoding::q4_k)) return;
  std::vector<float> values(512);
  const outcome decoded = outcome_of([&] { nibble::dequantize(in["k"], values); });
  CHECK(decoded.code == "unsupported_encoding");
  CHECK(missing_parts(decoded.message, {"'k'", "q4_k"}).empty());
}

TEST_CASE("a safetensors file's tensors are read", "[reader]") {
  const file_bytes file = safetensors_sample();
  const reader in(file);
  std::string names;
  for (const nibble::tensor_view& tensor : in) names += tensor.name();
  CHECK(names == "xyz");
  std::vector<float> values(2);
  nibble::dequantize(in["y"], values);
  CHECK(values == std::vector<float>{1.0F, 1.5F});
  nibble::dequantize(in["x"], values);
  CHECK(values == std::vector<float>{1.0F, -2.0F});
  CHECK_FALSE(in["y"].dtype_id().has_value());
  CHECK(in["z"].dtype_text() == "f8_e4m3");
  const outcome decoded = outcome_of([&] { nibble::dequantize(in["z"], values); });
  CHECK(decoded.code == "unsupported_encoding");
  CHECK(missing_parts(decoded.message, {"'z'", "f8_e4m3"}).empty());
  CHECK_NOTHROW(in.verify());
}

TEST_CASE("several threads may use one reader", "[reader]") {
  const apr_file file = recorded_sample();
  const file_bytes bytes = file.bytes();
  const reader in(bytes);
  std::vector<int> failures(4);
  std::vector<std::thread> threads;
  for (int& count : failures) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 50; ++turn) {
        for (const apr_tensor& tensor : file.tensors) {
          count += std::ranges::equal(in[tensor.name].bytes(), tensor.bytes) ? 0 : 1;
        }
        count += in.examine().empty() ? 0 : 1;
        count += in.contains("none") ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == std::vector<int>(4));
}

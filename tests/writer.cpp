#include <nibble/writer.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <nibble/reader.hpp>
#include <nibble/verify.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

using nibble::encoding;
using nibble::reader;
using nibble::writer;
using nibble_test::missing_parts;
using nibble_test::names_in;
using nibble_test::number_at;
using nibble_test::outcome_of;
using nibble_test::plain_crc32;
using nibble_test::temporary_directory;
namespace fs = std::filesystem;

namespace {

using file_bytes = std::vector<std::byte>;

constexpr const auto& packable = nibble_test::packable_encodings;

/// Rows of values in memory, as a source.
nibble::row_source rows_of_values(const std::vector<float>& values, std::uint64_t cols) {
  return [&values, cols](std::uint64_t first, std::uint64_t count, std::span<float> to) {
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first * cols), count * cols, to.begin());
  };
}

/// Threads that take tasks as they come, from a shuffled list.
class shuffled_executor final : public nibble::executor {
 public:
  explicit shuffled_executor(std::size_t threads, std::uint32_t seed)
      : threads_(threads), seed_(seed) {}

  void run(std::size_t tasks, nibble::task_reference body) override {
    std::vector<std::size_t> order(tasks);
    for (std::size_t i = 0; i < tasks; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937(seed_));
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < threads_; ++i) {
      threads.emplace_back([&] {
        for (std::size_t task = next++; task < tasks; task = next++) body(order[task]);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::size_t threads_;
  std::uint32_t seed_;
};

/// The bytes that a plan writes.
file_bytes written(const writer& out, const nibble::write_options& options = {}) {
  const temporary_directory folder;
  out.write(folder / "file", options);
  REQUIRE(names_in(folder.path()) == std::vector<std::string>{"file"});
  return nibble_test::read_file(folder / "file");
}

/// An index entry, read by the test's own hands.
struct entry {
  int dtype_id = 0;
  std::vector<std::uint64_t> dimensions{};
  std::uint64_t file_offset = 0;
  std::uint64_t size = 0;
};

std::map<std::string, entry> index_of(const file_bytes& file) {
  std::map<std::string, entry> index;
  auto at = static_cast<std::size_t>(number_at<std::uint64_t>(file, 24));
  const auto data_offset = number_at<std::uint64_t>(file, 32);
  std::string previous;
  for (auto left = number_at<std::uint32_t>(file, 8); left != 0; --left) {
    const auto name_bytes = number_at<std::uint16_t>(file, at);
    const std::string name(nibble_test::text_of(std::span(file).subspan(at + 2, name_bytes)));
    CHECK(previous < name);
    previous = name;
    at += 2U + name_bytes;
    entry read{.dtype_id = number_at<std::uint8_t>(file, at)};
    const auto rank = number_at<std::uint8_t>(file, at + 1);
    at += 2;
    for (int i = 0; i < rank; ++i, at += 8)
      read.dimensions.push_back(number_at<std::uint64_t>(file, at));
    read.file_offset = data_offset + number_at<std::uint64_t>(file, at);
    read.size = number_at<std::uint64_t>(file, at + 8);
    at += 16;
    index[name] = read;
  }
  return index;
}

nlohmann::json metadata_of(const file_bytes& file) {
  return nlohmann::json::parse(
      nibble_test::text_of(std::span(file).subspan(64, number_at<std::uint32_t>(file, 20))));
}

/// Every sum and place of a file, computed again from format/README.md.
void check_by_hand(const file_bytes& file) {
  REQUIRE(file.size() >= 68);
  CHECK(nibble_test::text_of(std::span(file).first(6)) == std::string_view("APR\0\2\0", 6));
  file_bytes summed(file.begin(), file.begin() + 40);
  summed.insert(summed.end(), file.begin() + 44, file.begin() + 64);
  CHECK(number_at<std::uint32_t>(file, 40) == plain_crc32(summed));
  CHECK(std::ranges::all_of(std::span(file).subspan(44, 20),
                            [](std::byte b) { return b == std::byte{0}; }));
  CHECK(number_at<std::uint32_t>(file, file.size() - 4) ==
        plain_crc32(std::span(file).first(file.size() - 4)));
  CHECK(number_at<std::uint64_t>(file, 12) == 64);
  CHECK(number_at<std::uint64_t>(file, 24) == (64 + number_at<std::uint32_t>(file, 20) + 63) / 64 * 64);
  CHECK(number_at<std::uint64_t>(file, 32) % 64 == 0);

  const nlohmann::json metadata = metadata_of(file);
  const nlohmann::json& record = metadata.at("nibble");
  CHECK(record.at("version") == 1);
  const auto index = index_of(file);
  std::string sums;
  std::string ids;
  std::uint64_t end = number_at<std::uint64_t>(file, 32);
  std::size_t i = 0;
  for (const auto& [name, tensor] : index) {
    CHECK(tensor.file_offset == end);
    const auto place =
        std::stoul(record.at("tensors").get<std::string>().substr(2 * i, 2), nullptr, 16);
    const std::string which = record.at("packing").at(place).at("encoding");
    CHECK(tensor.dtype_id == nibble_test::figures_of(which).dtype_id);
    CHECK(tensor.size == nibble_test::size_by_formula(which, tensor.dimensions));
    sums += fmt::format(
        "{:08x}", plain_crc32(std::span(file).subspan(static_cast<std::size_t>(tensor.file_offset),
                                                      static_cast<std::size_t>(tensor.size))));
    const std::uint64_t bytes_end = tensor.file_offset + tensor.size;
    end = (bytes_end + 63) / 64 * 64;
    for (std::uint64_t at = bytes_end; at < end; ++at) {
      if (file[static_cast<std::size_t>(at)] != std::byte{0}) FAIL_CHECK("padding that is not zero");
    }
    ++i;
  }
  CHECK(record.at("crc32") == sums);
  CHECK(record.at("tensors").get<std::string>().size() == 2 * index.size());
  CHECK(file.size() == end + 4);
}

/// A plan of every encoding, larger than a chunk here and there, over values that live elsewhere.
struct sample_plan {
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, std::pair<encoding, nibble::shape>> tensors;

  sample_plan() {
    std::uint32_t seed = 1;
    for (const encoding which : packable) {
      for (const nibble::shape& shape :
           {nibble::shape{}, {0}, {7}, {3, 33}, {70, 1000}, {2, 3, 1, 65}, {1, 70'000}}) {
        const std::string name = fmt::format("{}.{}", nibble::to_string(which), shape.to_string());
        values[name] = nibble_test::gaussian(static_cast<std::size_t>(shape.elements()), seed++);
        tensors.insert({name, {which, shape}});
      }
    }
  }

  void add_to(writer& out, const std::string& name, bool by_rows = false) const {
    const auto& [which, shape] = tensors.at(name);
    const std::vector<float>& of = values.at(name);
    if (by_rows) {
      out.add(which, name, shape, rows_of_values(of, shape.cols()));
    } else {
      out.add(which, name, shape, std::span<const float>(of));
    }
  }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, tensor] : tensors) all.push_back(name);
    return all;
  }
};

/// Waits for a child and gives its exit status, -1 where a signal ended it.
int status_of(pid_t child) {
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

constexpr std::string_view old_text = "what stood there before";

void put_old(const std::string& path) {
  nibble_test::write_file(path, nibble_test::bytes_of(old_text));
}

bool is_old(const std::string& path) {
  return nibble_test::read_file(path) == nibble_test::bytes_of(old_text);
}

}  // namespace

TEST_CASE("a small file is byte for byte what Python makes of the format", "[writer]") {
  const std::vector<float> values = {1.0F, -2.0F};
  const auto q4_bytes = nibble_test::bytes_of_hex("003c00b8 0123456789abcdeffedcba9876543210");
  const auto q8_bytes = nibble_test::bytes_of_hex("0000803c 7f8101");
  writer out;
  out.metadata()["architecture"] = "llama";
  out.add_stored(encoding::apr_q8, "w.c", {3}, q8_bytes);
  out.add<nibble::f32>("w.a", {2}, values);
  out.add_stored(encoding::q4, "w.b", {1, 32}, q4_bytes);
  const file_bytes golden = nibble_test::bytes_of_hex(
      "4150520002002004030000004000000000000000300100008001000000000000000200000000000052b3dfe9"
      "00000000000000000000000000000000000000007b22617263686974656374757265223a226c6c616d61222c"
      "226e6962626c65223a7b226372633332223a2263333837323635363730383163343064396334353965303422"
      "2c227061636b696e67223a5b7b22626c6f636b5f6279746573223a342c22626c6f636b5f656c656d656e7473"
      "223a312c22656e636f64696e67223a22663332227d2c7b22626c6f636b5f6279746573223a32302c22626c6f"
      "636b5f656c656d656e7473223a33322c22656e636f64696e67223a227134227d2c7b22656e636f64696e6722"
      "3a226170725f7138227d5d2c2274656e736f7273223a22303030313032222c2276657273696f6e223a317d2c"
      "227175616e74697a6174696f6e223a7b2262697473223a342c22626c6f636b5f73697a65223a33322c227175"
      "616e745f74797065223a227134227d7d000000000000000000000000000000000300772e6100010200000000"
      "000000000000000000000008000000000000000300772e620802010000000000000020000000000000004000"
      "00000000000014000000000000000300772e6381010300000000000000800000000000000007000000000000"
      "000000000000000000000000000000000000000000000000000000000000803f000000c00000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
      "00000000003c00b80123456789abcdeffedcba98765432100000000000000000000000000000000000000000"
      "0000000000000000000000000000000000000000000000000000803c7f810100000000000000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
      "32fdfbbf");
  CHECK(written(out) == golden);
  const reader in(golden);
  CHECK(in.examine().empty());
  std::vector<float> decoded(32);
  nibble::dequantize(in["w.b"], decoded);
  CHECK(decoded[0] == 0.5F);    // low half of the first byte: min + 1 * scale
  CHECK(decoded[1] == 2.5F);    // low half of the second: 3
  CHECK(decoded[16] == -0.5F);  // high half of the first: 0
  CHECK(decoded[31] == 0.5F);   // high half of the last: 1
  nibble::dequantize(in["w.a"], std::span(decoded).first(2));
  CHECK(decoded[1] == -2.0F);
}

TEST_CASE("what is written is read back bit for bit, in every encoding", "[writer]") {
  const sample_plan plan;
  writer out;
  for (const std::string& name : plan.names()) plan.add_to(out, name);
  CHECK(out.size() == plan.tensors.size());
  const file_bytes file = written(out);
  check_by_hand(file);
  const reader in(file);
  CHECK(in.examine().empty());
  REQUIRE(in.size() == plan.tensors.size());
  for (const auto& [name, planned] : plan.tensors) {
    CAPTURE(name);
    const auto& [which, shape] = planned;
    const nibble::tensor_view& view = in[name];
    CHECK(view.encoding() == which);
    CHECK(view.shape() == shape);
    // The same values packed into memory.
    file_bytes packed(view.bytes().size());
    nibble::quantize(which, shape, plan.values.at(name), packed);
    CHECK(std::ranges::equal(view.bytes(), packed));
    std::vector<float> decoded(plan.values.at(name).size());
    nibble::dequantize(view, decoded);
    // Of values with a deviation of 0.02: far from what zeros or other rows would give. The root mean
    // square, because apr_q8's best rule may leave a tensor's largest values outside its grid.
    double squares = 0.0;
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      squares += std::pow(static_cast<double>(decoded[i]) - plan.values.at(name)[i], 2);
    }
    const auto bits = nibble::describe(which).code_bits;
    const double most = bits == 32   ? 0.0
                        : bits == 16 ? 5e-5
                        : bits == 8  ? 4e-4
                        : bits > 2   ? 3.1e-3
                        : bits == 2  ? 1e-2
                                     : 1.3e-2;
    CHECK(squares <= most * most * static_cast<double>(decoded.size()));
  }
}

TEST_CASE("neither the order of add, nor threads, nor row sources change a byte", "[writer]") {
  const sample_plan plan;
  std::vector<std::string> names = plan.names();
  writer plain;
  for (const std::string& name : names) plan.add_to(plain, name);
  const file_bytes expected = written(plain);
  for (const std::uint32_t seed : {1U, 2U}) {
    std::shuffle(names.begin(), names.end(), std::mt19937(seed));
    writer out;
    for (std::size_t i = 0; i < names.size(); ++i) plan.add_to(out, names[i], (i + seed) % 2 == 0);
    shuffled_executor threads(1 + seed, seed);
    CHECK(written(out, {.executor = &threads}) == expected);
  }
}

TEST_CASE("a plan may be copied and written several times, on any executor", "[writer]") {
  const auto values = nibble_test::gaussian(70'000, 1);
  writer out;
  for (const encoding which : packable) {
    out.add(which, std::string(to_string(which)), {700, 100}, std::span<const float>(values));
  }
  const file_bytes expected = written(out);
  nibble::serial_executor serial;
  CHECK(written(out, {.executor = &serial}) == expected);
  const writer copy = out;
  out.add<nibble::f32>("more", {70'000}, values);
  CHECK(written(copy) == expected);
  CHECK(written(out) != expected);
}

TEST_CASE("bytes packed elsewhere are kept bit for bit", "[writer]") {
  writer out;
  std::map<std::string, file_bytes> stored;
  for (const auto& row : nibble_test::all_figures) {
    const std::string name(row.name);
    // Large enough to be written in several parts.
    const std::vector<std::uint64_t> dimensions = {3, name == "q6_k" ? 2'000'000U : 300U};
    stored[name] = nibble_test::random_bytes(
        static_cast<std::size_t>(nibble_test::size_by_formula(name, dimensions)), 3);
    out.add_stored(*nibble::encoding_from_name(name), name, {dimensions[0], dimensions[1]},
                   stored[name]);
  }
  out.add_stored(encoding::q5_1, "empty", {0, 5}, {});
  const file_bytes file = written(out);
  check_by_hand(file);
  const reader in(file);
  for (const auto& [name, bytes] : stored) {
    CHECK(in[name].encoding() == nibble::encoding_from_name(name));
    CHECK(std::ranges::equal(in[name].bytes(), bytes));
  }
  CHECK(in["empty"].encoding() == encoding::q5_1);
}

TEST_CASE("a plan of no tensors is a file", "[writer]") {
  const file_bytes file = written(writer());
  check_by_hand(file);
  CHECK(reader(file).size() == 0);
  CHECK(number_at<std::uint16_t>(file, 6) == 0x400);
}

TEST_CASE("metadata comes back as it was given", "[writer]") {
  writer out;
  out.metadata() = {{"model_type", "llama"},
                    {"hidden_size", 576},
                    {"most", std::numeric_limits<std::uint64_t>::max()},
                    {"rope_theta", 10000.5},
                    {"tokenizer.vocabulary", {"a", "\xE5\xB1\x82", "\n"}},
                    {"custom", {{"deep", {1, nullptr, true}}}}};
  const nlohmann::json given = out.metadata();
  const std::vector<float> values(3, 1.0F);
  out.add<nibble::q4>("w", {3}, values);
  const file_bytes file = written(out);
  nlohmann::json read = reader(file).metadata();
  CHECK(read.erase("nibble") == 1);
  CHECK(read.erase("quantization") == 1);
  CHECK(read == given);
  CHECK(out.metadata() == given);  // write() leaves the plan alone
  CHECK(number_at<std::uint16_t>(file, 6) == 0x620);
}

TEST_CASE("files that existing programs would misread make them refuse", "[writer]") {
  const std::vector<float> values(64, 0.5F);
  const auto quantization_with = [&](const std::vector<encoding>& all) {
    writer out;
    for (const encoding which : all) out.add(which, std::string(to_string(which)), {64}, values);
    const file_bytes file = written(out);
    const auto flags = number_at<std::uint16_t>(file, 6);
    const auto metadata = metadata_of(file);
    CHECK(((flags & 0x20) != 0) == metadata.contains("quantization"));
    CHECK((flags & 0x400) != 0);
    return metadata.value("quantization", nlohmann::json());
  };
  CHECK(quantization_with({encoding::f32, encoding::f16}).is_null());
  CHECK(quantization_with({encoding::apr_q4})["symmetric"] == true);
  CHECK(quantization_with({encoding::apr_q8, encoding::f32})["symmetric"] == true);
  for (const encoding ours : {encoding::q4, encoding::q8}) {
    const auto quantization = quantization_with({encoding::apr_q8, ours, encoding::f32});
    CHECK_FALSE(quantization.contains("symmetric"));
    for (const char* const field : {"quant_type", "bits", "block_size"})
      CHECK(quantization.contains(field));
  }
}

TEST_CASE("an empty name has a place in safetensors alone", "[writer]") {
  const std::vector<float> values = nibble_test::gaussian(6, 1);
  // As the reference writer lets it be in .apr.
  const auto bytes = std::as_bytes(std::span(values));
  const nibble_test::apr_file nameless{
      .tensors = {{.dimensions = {6}, .bytes = {bytes.begin(), bytes.end()}}}};
  const file_bytes apr = nameless.bytes();
  const reader from(apr);
  writer out;
  out.add_stored(encoding::f32, std::string(from.tensors()[0].name()), {6}, from.tensors()[0].bytes());
  out.add<nibble::f32>("b", {6}, values);
  const file_bytes file = written(out, {.container = nibble::container::safetensors});
  const reader in(file);
  REQUIRE(in.find("") != nullptr);
  CHECK(std::ranges::equal(in[""].bytes(), std::as_bytes(std::span(values))));
  const temporary_directory folder;
  for (const auto which : {nibble::container::apr, nibble::container::gguf}) {
    const auto result = outcome_of([&] { out.write(folder / "file", {.container = which}); });
    CHECK(result.code == "bad_name");
    CHECK(missing_parts(result.message, {"empty"}).empty());
  }
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("tensors that cannot be planned are refused and leave the plan as it was", "[writer]") {
  const std::vector<float> values(6, 1.0F);
  const std::span<const float> all(values);
  const auto bytes = nibble_test::random_bytes(6, 1);
  writer out;
  out.add<nibble::f32>("there", {6}, values);
  const auto refused = [&](auto&& work) {
    const auto result = outcome_of(work);
    CHECK(out.size() == 1);
    return result;
  };
  SECTION("names") {
    for (const std::string& name :
         {std::string(257, 'n'), std::string("w\xFF"), std::string("\xED\xA0\x80")}) {
      CHECK(refused([&] { out.add(encoding::q4, name, {6}, all); }).code == "bad_name");
      CHECK(refused([&] { out.add_stored(encoding::u8, name, {6}, bytes); }).code == "bad_name");
    }
    const auto result = refused([&] { out.add(encoding::q4, std::string(257, 'n'), {6}, all); });
    CHECK(missing_parts(result.message, {"257 bytes", "at most 256"}).empty());
  }
  SECTION("a name twice") {
    const auto result = refused([&] { out.add(encoding::q4, "there", {6}, all); });
    CHECK(result.code == "duplicate_name");
    CHECK(missing_parts(result.message, {"'there'"}).empty());
    CHECK(refused([&] { out.add_stored(encoding::u8, "there", {6}, bytes); }).code == "duplicate_name");
    CHECK(refused([&] {
            out.add<nibble::q8>("there", {2, 3}, rows_of_values(values, 3));
          }).code == "duplicate_name");
  }
  SECTION("values that are not the shape's") {
    for (const nibble::shape& shape : {nibble::shape{5}, {7}, {2, 4}, {}, {0}}) {
      const auto result = refused([&] { out.add(encoding::q4, "w", shape, all); });
      CHECK(result.code == "size_mismatch");
      CHECK(missing_parts(result.message, {"'w'", "found 6", shape.to_string()}).empty());
    }
    const auto stored = refused([&] { out.add_stored(encoding::f32, "w", {6}, bytes); });
    CHECK(stored.code == "size_mismatch");
    CHECK(missing_parts(stored.message, {"'w'", "found 6", "24 for f32"}).empty());
  }
  SECTION("nine dimensions") {
    CHECK(refused([&] {
            out.add(encoding::q4, "w", {1, 1, 1, 1, 1, 1, 1, 2, 3}, all);
          }).code == "bad_shape");
  }
  SECTION("bytes beyond 64 bits") {
    const nibble::shape huge{std::uint64_t{1} << 63U};
    const auto result = refused([&] { out.add(encoding::f32, "w", huge, rows_of_values(values, 1)); });
    CHECK(result.code == "bad_shape");
  }
  SECTION("encodings that f32 is not packed into") {
    for (const auto& row : nibble::encodings) {
      const bool can_pack = std::ranges::find(packable, row.encoding) != std::end(packable);
      const auto result = outcome_of([&] {
        writer other;
        other.add(row.encoding, "w", {6}, all);
      });
      CHECK(result.code == (can_pack ? "taken" : "unsupported_encoding"));
      if (!can_pack) CHECK(missing_parts(result.message, {"'w'", std::string(row.name)}).empty());
      CHECK(outcome_of([&] {
              writer other;
              other.add(row.encoding, "w", {2, 3}, rows_of_values(values, 3));
            }).code == result.code);
    }
  }
  SECTION("no row source") {
    CHECK(refused([&] { out.add(encoding::f32, "w", {6}, nibble::row_source()); }).code ==
          "invalid_argument");
  }
  CHECK(reader(written(out)).size() == 1);
}

TEST_CASE("a name that was refused once may be planned after", "[writer]") {
  const std::vector<float> values(6, 1.0F);
  writer out;
  CHECK(outcome_of([&] { out.add(encoding::f64, "w", {6}, std::span<const float>(values)); }).code ==
        "unsupported_encoding");
  CHECK(outcome_of([&] { out.add(encoding::f32, "w", {5}, std::span<const float>(values)); }).code ==
        "size_mismatch");
  CHECK(outcome_of([&] { out.add(encoding::f32, "w", {6}, std::span<const float>(values)); }).code ==
        "taken");
}

TEST_CASE("values that an encoding cannot hold are named and nothing is written", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  struct row {
    encoding which;
    float value;
    std::string named;
  };
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::vector<row> rows = {{encoding::q4, 1e6F, "1000000"},
                           {encoding::q8, -1e6F, "-1000000"},
                           {encoding::apr_q4, 1e7F, "10000000"},
                           {encoding::f16, 1e6F, "1000000"}};
  for (const encoding which : {encoding::q4, encoding::q8, encoding::apr_q4, encoding::apr_q8}) {
    rows.push_back({which, std::numeric_limits<float>::quiet_NaN(), "nan"});
    rows.push_back({which, infinity, "inf"});
    rows.push_back({which, -infinity, "-inf"});
  }
  for (const row& wrong : rows) {
    for (const std::size_t element : {0U, 40U, 99'999U}) {
      CAPTURE(nibble::to_string(wrong.which), wrong.value, element);
      auto values = nibble_test::gaussian(100'000, 1);
      values[element] = wrong.value;
      writer out;
      out.add(wrong.which, "the.tensor", {1000, 100}, std::span<const float>(values));
      put_old(path);
      const auto result = outcome_of([&] { out.write(path); });
      CHECK(result.code == "not_representable");
      CHECK(missing_parts(result.message, {path, "'the.tensor'", fmt::format("element {}:", element),
                                           fmt::format("found {},", wrong.named)})
                .empty());
      CHECK(is_old(path));
      CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
      fs::remove(path);
      CHECK(outcome_of([&] { out.write(path); }).code == "not_representable");
      CHECK(names_in(folder.path()).empty());
    }
  }
}

TEST_CASE("what a row source throws reaches the caller and nothing is written", "[writer]") {
  struct not_an_error {};
  const temporary_directory folder;
  const std::string path = folder / "file";
  put_old(path);
  shuffled_executor threads(3, 1);
  for (const encoding which : packable) {
    for (nibble::executor* const on :
         {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&threads)}) {
      writer out;
      out.add(which, "w", {5000, 100},
              [](std::uint64_t first, std::uint64_t count, std::span<float> to) {
                std::ranges::fill(to, 1.0F);
                if (first + count > 3000) throw not_an_error();
              });
      CHECK_THROWS_AS(out.write(path, {.executor = on}), not_an_error);
      CHECK(is_old(path));
      CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
    }
  }
  writer out;
  out.add(encoding::q4, "w", {10, 10}, [](std::uint64_t, std::uint64_t, std::span<float>) {
    throw std::runtime_error("the disk went away");
  });
  CHECK_THROWS_WITH(out.write(path), "the disk went away");
}

TEST_CASE("row sources are asked for rows that there are, in pieces", "[writer]") {
  for (const encoding which : packable) {
    for (const nibble::shape& shape : {nibble::shape{150, 1001}, {2, 70'000}, {1, 1}, {}, {70'000}}) {
      std::uint64_t most_elements = 0;
      bool is_in_range = true;
      writer out;
      out.add(which, "w", shape, [&](std::uint64_t first, std::uint64_t count, std::span<float> to) {
        is_in_range &= count > 0 && first + count <= shape.rows() && to.size() == count * shape.cols();
        most_elements = std::max<std::uint64_t>(most_elements, to.size());
        std::ranges::fill(to, 1.0F);
      });
      static_cast<void>(written(out));
      CHECK(is_in_range);
      // A chunk of 65,536 elements or a row, and for blocks that straddle rows one row more.
      CHECK(most_elements <= std::max<std::uint64_t>(65'536, shape.cols()) + 2 * shape.cols());
    }
  }
}

TEST_CASE("progress grows to the total, tensor by tensor", "[writer]") {
  const sample_plan plan;
  writer out;
  for (const std::string& name : plan.names()) plan.add_to(out, name);
  std::uint64_t total = 0;
  for (const auto& [name, planned] : plan.tensors) {
    total += *nibble::stored_bytes(planned.first, planned.second);
  }
  shuffled_executor threads(3, 2);
  for (nibble::executor* const on :
       {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&threads)}) {
    std::vector<std::uint64_t> steps;
    std::map<std::string, std::uint64_t> of_tensor;
    bool totals_agree = true;
    std::atomic<int> inside{0};
    bool alone = true;
    static_cast<void>(
        written(out, {.executor = on, .progress = [&](const nibble::write_progress& progress) {
                        alone &= ++inside == 1;
                        of_tensor[std::string(progress.tensor)] +=
                            progress.written_bytes - (steps.empty() ? 0 : steps.back());
                        steps.push_back(progress.written_bytes);
                        totals_agree &= progress.total_bytes == total;
                        --inside;
                        return true;
                      }}));
    CHECK(alone);
    CHECK(totals_agree);
    CHECK(std::ranges::is_sorted(steps));
    CHECK(steps.size() > 20);
    CHECK(steps.back() == total);
    for (const auto& [name, bytes] : of_tensor) {
      const auto& [which, shape] = plan.tensors.at(name);
      CHECK(bytes == *nibble::stored_bytes(which, shape));
    }
  }
}

TEST_CASE("a write that is cancelled leaves the old file", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  put_old(path);
  const auto values = nibble_test::gaussian(300'000, 1);
  writer out;
  out.add<nibble::q8>("w", {3000, 100}, values);
  int calls = 0;
  const auto cancel_at = [&](int call, nibble::executor* on) {
    calls = 0;
    return outcome_of([&] {
      out.write(path, {.executor = on,
                       .progress = [&](const nibble::write_progress&) { return ++calls < call; }});
    });
  };
  for (const int call : {1, 2, 5}) {  // the fifth is the last
    const auto result = cancel_at(call, nullptr);
    CHECK(result.code == "cancelled");
    CHECK(missing_parts(result.message, {path}).empty());
    CHECK(calls == call);
    CHECK(is_old(path));
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
  }
  shuffled_executor threads(2, 1);
  CHECK(cancel_at(2, &threads).code == "cancelled");
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
  CHECK(cancel_at(1000, nullptr).code == "taken");
  CHECK(calls == 5);
}

TEST_CASE("what the progress callback throws reaches the caller", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  put_old(path);
  const std::vector<float> values(10, 1.0F);
  writer out;
  out.add<nibble::q8>("w", {10}, values);
  CHECK_THROWS_WITH(out.write(path, {.progress = [](const nibble::write_progress&) -> bool {
                                throw std::logic_error("enough");
                              }}),
                    "enough");
  CHECK(is_old(path));
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("metadata that no file can hold is refused before anything is written", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  const auto refused = [&](nlohmann::json metadata, nibble::container as) {
    writer out;
    out.metadata() = std::move(metadata);
    const auto result = outcome_of([&] { out.write(path, {.container = as}); });
    CHECK(missing_parts(result.message, {path}).empty());
    CHECK(names_in(folder.path()).empty());
    return result.code == "bad_metadata";
  };
  for (const auto as :
       {nibble::container::apr, nibble::container::gguf, nibble::container::safetensors}) {
    CHECK(refused({{"a", {{"b", std::numeric_limits<double>::quiet_NaN()}}}}, as));
    // GGUF has values that JSON has not.
    if (as != nibble::container::gguf) {
      CHECK(refused({{"a", -std::numeric_limits<double>::infinity()}}, as));
    }
    CHECK(refused({{"a", "\xFF\xFE"}}, as));
    CHECK(refused({{"\xC3", "a"}}, as));
    CHECK(refused(7, as));
    CHECK(refused(nlohmann::json::array(), as));
  }
}

TEST_CASE("a target that cannot be written is refused by name and reason", "[writer]") {
  const temporary_directory folder;
  const std::vector<float> values(10, 1.0F);
  writer out;
  out.add<nibble::f32>("w", {10}, values);
  put_old(folder / "file");
  fs::create_directory(folder / "inner");
  struct row {
    std::string path;
    std::string named;
  };
  const std::vector<row> rows = {{folder / "none/file", "No such file"},
                                 {folder / "file/inside", "Not a directory"},
                                 {folder / "inner", "a directory"},
                                 {"/dev/full", "a special file"},
                                 {"", "No such file"}};
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  for (const row& wrong : rows) {
    CAPTURE(wrong.path);
    const auto result = outcome_of([&] { out.write(wrong.path); });
    CHECK(result.code == "write_failed");
    CHECK(missing_parts(result.message, {wrong.path, wrong.named}).empty());
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file", "inner"});
  }
  fs::current_path(before);
  CHECK(is_old(folder / "file"));
  if (::geteuid() == 0) return;  // root writes everywhere
  fs::permissions(folder / "inner", fs::perms::owner_read | fs::perms::owner_exec);
  const auto locked = outcome_of([&] { out.write(folder / "inner/file"); });
  fs::permissions(folder / "inner", fs::perms::owner_all);
  CHECK(locked.code == "write_failed");
}

TEST_CASE("a disk without room is said to have none and keeps the old file", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  put_old(path);
  const auto values = nibble_test::gaussian(100'000, 1);
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10'000, 10'000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(9);
    writer out;
    out.add<nibble::q4>("w", {1000, 100}, values);
    const auto result = outcome_of([&] { out.write(path); });
    ::_exit(result.code == "write_failed" && missing_parts(result.message, {path}).empty() ? 0 : 1);
  }
  CHECK(status_of(child) == 0);
  CHECK(is_old(path));
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a killed writer's partial file is taken over and goes", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path + ".nibble-partial", nibble_test::random_bytes(100'000, 1));
  const std::vector<float> values(10, 1.0F);
  writer out;
  out.add<nibble::f32>("w", {10}, values);
  const file_bytes expected = written(out);
  out.write(path);
  CHECK(nibble_test::read_file(path) == expected);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a path that another writer holds is left to it", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  put_old(path);
  const std::vector<float> values(10, 1.0F);
  writer out;
  out.add<nibble::f32>("w", {10}, values);
  const int held = ::open((path + ".nibble-partial").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(::flock(held, LOCK_EX) == 0);
  const auto result = outcome_of([&] { out.write(path); });
  CHECK(result.code == "already_being_written");
  CHECK(missing_parts(result.message, {path, ".nibble-partial"}).empty());
  CHECK(is_old(path));
  CHECK(fs::exists(path + ".nibble-partial"));
  ::close(held);
  out.write(path);
  CHECK(reader(path).size() == 1);
}

TEST_CASE("a progress callback that writes to the same path is refused", "[writer]") {
  const temporary_directory folder;
  const std::vector<float> values(10, 1.0F);
  writer out;
  out.add<nibble::f32>("w", {10}, values);
  std::string code;
  out.write(folder / "file", {.progress = [&](const nibble::write_progress&) {
              code = outcome_of([&] { out.write(folder / "file"); }).code;
              return true;
            }});
  CHECK(code == "already_being_written");
  CHECK(reader(folder / "file").size() == 1);
}

TEST_CASE("a file may be written over while it is read", "[writer]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  const auto values = nibble_test::gaussian(10'000, 1);
  writer first;
  first.add<nibble::f32>("w", {100, 100}, values);
  first.write(path);
  const reader in(path);
  // Its own rows, packed anew into the path that they are mapped from.
  writer second;
  second.add<nibble::q8>("w", {100, 100}, nibble::rows_of(in["w"]));
  second.add_stored(encoding::f32, "copy", {100, 100}, in["w"].bytes());
  second.write(path);
  std::vector<float> read(values.size());
  nibble::dequantize(in["w"], read);
  CHECK(read == values);
  CHECK_NOTHROW(in.verify());
  const reader again(path);
  CHECK(again["w"].encoding() == encoding::q8);
  CHECK(std::ranges::equal(again["copy"].bytes(), in["w"].bytes()));
}

TEST_CASE("links and permissions survive a write", "[writer]") {
  const temporary_directory folder;
  put_old(folder / "target");
  REQUIRE(::chmod((folder / "target").c_str(), 0640) == 0);
  fs::create_symlink("target", folder / "link");
  const std::vector<float> values(10, 1.0F);
  writer out;
  out.add<nibble::f32>("w", {10}, values);
  out.write(folder / "link");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(reader(folder / "target").size() == 1);
  struct stat status {};
  REQUIRE(::stat((folder / "target").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0640);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"link", "target"});
}

TEST_CASE("a safetensors file is written and read back", "[writer]") {
  const auto values = nibble_test::gaussian(70'000, 1);
  const auto ids = nibble_test::random_bytes(24, 2);
  writer out;
  out.metadata() = {{"format", "pt"}, {"layers", 3}};
  out.add<nibble::bf16>("h", {70, 1000}, values);
  out.add<nibble::f32>("f", {70, 1000}, values);
  out.add_stored(encoding::i64, "ids", {3}, ids);
  const file_bytes file = written(out, {.container = nibble::container::safetensors});
  const reader in(file);
  CHECK(in.container() == nibble::container::safetensors);
  CHECK(in.metadata() == nlohmann::json{{"format", "pt"}, {"layers", "3"}});
  CHECK(std::ranges::equal(in["f"].bytes(), std::as_bytes(std::span(values))));
  CHECK(std::ranges::equal(in["ids"].bytes(), ids));
  for (const nibble::tensor_view& tensor : in) CHECK(tensor.alignment_bytes() >= 4);
  shuffled_executor threads(3, 5);
  CHECK(written(out, {.container = nibble::container::safetensors, .executor = &threads}) == file);
  out.add<nibble::q4>("q", {70, 1000}, values);
  const temporary_directory folder;
  const auto result =
      outcome_of([&] { out.write(folder / "file", {.container = nibble::container::safetensors}); });
  CHECK(result.code == "unsupported_encoding");
  CHECK(missing_parts(result.message, {"'q'", "q4"}).empty());
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("a GGUF file is written and read back", "[writer]") {
  const auto values = nibble_test::gaussian(70 * 1024, 1);
  const auto stored = nibble_test::random_bytes(70 * 1024 / 256 * 144, 2);
  writer out;
  out.metadata() = {{"general.architecture", "llama"}, {"llama.block_count", 3}, {"f", 0.5}};
  out.add<nibble::f16>("h", {70, 1024}, values);
  out.add<nibble::f32>("f", {70, 1024}, values);
  out.add_stored(encoding::q4_k, "k", {70, 1024}, stored);
  const file_bytes file = written(out, {.container = nibble::container::gguf});
  const reader in(file);
  CHECK(in.container() == nibble::container::gguf);
  CHECK(in.metadata() == out.metadata());
  CHECK(std::ranges::equal(in["f"].bytes(), std::as_bytes(std::span(values))));
  CHECK(std::ranges::equal(in["k"].bytes(), stored));
  for (const nibble::tensor_view& tensor : in) CHECK(tensor.alignment_bytes() >= 32);
  shuffled_executor threads(3, 5);
  CHECK(written(out, {.container = nibble::container::gguf, .executor = &threads}) == file);
  out.add<nibble::q8>("q", {70, 1024}, values);
  const temporary_directory folder;
  const auto result =
      outcome_of([&] { out.write(folder / "file", {.container = nibble::container::gguf}); });
  CHECK(result.code == "unsupported_encoding");
  CHECK(missing_parts(result.message, {"'q'", "q8", "GGUF"}).empty());
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("q4 and apr_q4 stand in a GGUF file as the types that hold their values", "[writer]") {
  // More than one chunk of stored bytes each.
  const nibble::shape shape{2300, 1024};
  const auto values = nibble_test::gaussian(2300 * 1024, 3);
  writer packing;
  packing.add<nibble::q4>("q4", shape, values);
  packing.add<nibble::apr_q4>("apr_q4", shape, values);
  const file_bytes own = written(packing);
  const reader packed(own);
  writer copying;
  for (const nibble::tensor_view& tensor : packed) {
    copying.add_stored(tensor.encoding(), std::string(tensor.name()), shape, tensor.bytes());
  }
  const file_bytes file = written(packing, {.container = nibble::container::gguf});
  CHECK(written(copying, {.container = nibble::container::gguf}) == file);
  shuffled_executor threads(3, 5);
  CHECK(written(packing, {.container = nibble::container::gguf, .executor = &threads}) == file);
  const reader in(file);
  CHECK(in["q4"].encoding() == encoding::q4_1);
  CHECK(in["apr_q4"].encoding() == encoding::q4_0);
  CHECK(std::ranges::equal(in["q4"].bytes(), packed["q4"].bytes()));
  CHECK_FALSE(std::ranges::equal(in["apr_q4"].bytes(), packed["apr_q4"].bytes()));
  for (const char* const name : {"q4", "apr_q4"}) {
    std::vector<float> expected(values.size());
    std::vector<float> found(values.size());
    nibble::dequantize(packed[name], expected);
    nibble::dequantize(in[name], found);
    CHECK(found == expected);
  }
  // Rows of incomplete blocks have no place there.
  writer ragged;
  ragged.add<nibble::apr_q4>("w", {2, 48}, std::span(values).first(96));
  const temporary_directory folder;
  const auto result =
      outcome_of([&] { ragged.write(folder / "file", {.container = nibble::container::gguf}); });
  CHECK(result.code == "bad_shape");
  CHECK(missing_parts(result.message, {"'w'", "48"}).empty());
}

TEST_CASE("blocks on demand that cannot be had are refused", "[writer]") {
  writer out;
  const auto none =
      outcome_of([&] { out.add_stored(encoding::q4_0, "w", {32}, nibble::block_source{}); });
  CHECK(none.code == "invalid_argument");
  CHECK(missing_parts(none.message, {"'w'", "blocks"}).empty());
  const auto no_blocks = outcome_of(
      [&] { out.add_stored(encoding::apr_q8, "w", {32}, [](std::uint64_t, std::span<std::byte>) {}); });
  CHECK(no_blocks.code == "unsupported_encoding");
  CHECK(missing_parts(no_blocks.message, {"'w'", "apr_q8"}).empty());
  CHECK(out.size() == 0);
  out.add_stored(encoding::q4_0, "w", {32}, [](std::uint64_t, std::span<std::byte>) {
    throw std::runtime_error("no blocks today");
  });
  const temporary_directory folder;
  CHECK_THROWS_AS(out.write(folder / "file"), std::runtime_error);
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("rows of an open tensor are a source for another file", "[writer]") {
  const auto values = nibble_test::gaussian(5000, 1);
  writer out;
  out.add<nibble::f16>("w", {50, 100}, values);
  const file_bytes file = written(out);
  const reader in(file);
  writer second;
  second.add<nibble::f16>("w", {50, 100}, nibble::rows_of(in["w"]));
  CHECK(written(second) == file);
  const auto bytes = nibble_test::random_bytes(144, 1);
  const nibble::tensor_view undecodable("k", encoding::q4_k, {1, 256}, bytes);
  if (!nibble::is_decodable(encoding::q4_k)) {
    CHECK(outcome_of([&] { static_cast<void>(nibble::rows_of(undecodable)); }).code ==
          "unsupported_encoding");
  }
}

TEST_CASE("what readers refuse never appears", "[writer]") {
  const temporary_directory folder;
  for (const nibble::container container :
       {nibble::container::apr, nibble::container::gguf, nibble::container::safetensors}) {
    CAPTURE(to_string(container));
    std::size_t refused = 0;
    std::size_t taken = 0;
    for (const std::size_t tensors : {1'000U, 20'000U, 60'000U, 120'000U}) {
      nibble::writer out;
      for (std::size_t i = 0; i < tensors; ++i) {
        out.add_stored(nibble::encoding::f32, std::to_string(i), {0}, {});
      }
      const std::string path = folder / fmt::format("{}.{}", tensors, to_string(container));
      const auto code = nibble_test::code_of([&] { out.write(path, {.container = container}); });
      if (!code) {
        ++taken;
        CHECK(nibble::reader(path).size() == tensors);
      } else {
        ++refused;
        CHECK(code == nibble::error_code::directory_too_large);
        CHECK(!std::filesystem::exists(path));
      }
    }
    CHECK(taken >= 1);
    CHECK(refused >= 1);
  }
}

TEST_CASE("what nobody here can decode is kept in the container that it came from", "[writer]") {
  const temporary_directory files;
  nibble_test::gguf_file sample{.tensors = {{"b", 999, {7}, nibble_test::bytes_of("nine byte")},
                                            {"a", 0, {2}, nibble_test::bytes_of("8 bytes.")},
                                            {"c", 16, {256}, file_bytes(66, std::byte{7})}}};
  const file_bytes bytes = sample.bytes();
  const reader in(bytes);
  writer out;
  for (const nibble::tensor_view& tensor : in) {
    const std::string name(tensor.name());
    if (tensor.has_encoding()) {
      out.add_stored(tensor.encoding(), name, tensor.shape(), tensor.bytes());
      CHECK(nibble_test::code_of([&] { out.add_unknown_dtype(in.container(), "x", tensor); }) ==
            nibble::error_code::invalid_argument);
    } else {
      CHECK(nibble_test::code_of([&] {
              out.add_unknown_dtype(nibble::container::apr, name, tensor);
            }) == nibble::error_code::invalid_argument);
      out.add_unknown_dtype(in.container(), name, tensor);
    }
  }
  out.write(files / "out.gguf", {.container = nibble::container::gguf});
  std::ranges::sort(sample.tensors, {}, &nibble_test::gguf_tensor::name);
  CHECK(nibble_test::read_file(files / "out.gguf") == sample.bytes());
  for (const auto other : {nibble::container::apr, nibble::container::safetensors}) {
    const auto refused = outcome_of([&] { out.write(files / "out.other", {.container = other}); });
    CHECK(missing_parts(refused.message, {"out.other", "unsupported_encoding", "id "}) == "");
  }
  CHECK(names_in(files.path()) == std::vector<std::string>{"out.gguf"});
}

TEST_CASE("a writer packs as each tensor's options say", "[writer]") {
  const temporary_directory folder;
  const nibble::shape dimensions{6, 96};
  const std::vector<float> values = nibble_test::gaussian(6 * 96, 41);
  std::vector<float> importance(96);
  std::mt19937 generator(42);
  for (float& each : importance) each = static_cast<float>(generator() % 100U) * 0.01F;
  const std::map<std::string, nibble::packing_options> options = {
      {"plain", {}},
      {"best", {.search = nibble::packing_search::best}},
      {"weighted", {.column_importance = importance}},
      {"reference", {.rule = nibble::packing_rule::reference}},
  };
  writer out;
  for (const auto& [name, how] : options) {
    out.add(encoding::apr_q4, name, dimensions, std::span<const float>(values), how);
    out.add(encoding::q4, "rows." + name, dimensions, rows_of_values(values, 96), how);
  }
  out.write(folder / "m.apr");
  const reader in(folder / "m.apr");
  std::vector<std::vector<std::byte>> different;
  for (const auto& [name, how] : options) {
    for (const auto& [which, tensor] :
         {std::pair(encoding::apr_q4, name), std::pair(encoding::q4, "rows." + name)}) {
      CAPTURE(tensor);
      std::vector<std::byte> expected(in[tensor].bytes().size());
      nibble::quantize(
          which, dimensions, values, expected,
          {.rule = how.rule, .search = how.search, .column_importance = how.column_importance});
      CHECK(std::ranges::equal(in[tensor].bytes(), expected));
      if (which == encoding::apr_q4) different.push_back(expected);
    }
  }
  std::ranges::sort(different);
  CHECK(std::ranges::adjacent_find(different) == different.end());
}

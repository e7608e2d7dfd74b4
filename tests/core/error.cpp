#include <nibble/core/error.hpp>

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include <support/catch.hpp>

namespace {

using nibble::error;
using nibble::error_code;

/// The codes as callers and messages know them, in the order of the enumeration.
constexpr std::array<std::string_view, 31> code_names = {"invalid_argument",
                                                         "out_of_range",
                                                         "file_not_found",
                                                         "read_failed",
                                                         "write_failed",
                                                         "already_being_written",
                                                         "unknown_container",
                                                         "unsupported_version",
                                                         "unsupported_feature",
                                                         "header_checksum",
                                                         "truncated",
                                                         "bad_layout",
                                                         "bad_metadata",
                                                         "bad_record",
                                                         "bad_index",
                                                         "bad_name",
                                                         "bad_shape",
                                                         "size_mismatch",
                                                         "missing_footer",
                                                         "duplicate_name",
                                                         "no_such_tensor",
                                                         "unsupported_encoding",
                                                         "not_representable",
                                                         "directory_too_large",
                                                         "bad_shard",
                                                         "several_models",
                                                         "bad_scheme",
                                                         "bad_importance",
                                                         "damaged",
                                                         "cancelled",
                                                         "unsupported_architecture"};

TEST_CASE("every error code has the name of its enumerator, and nothing else has one", "[error]") {
  for (std::size_t i = 0; i < code_names.size(); ++i) {
    CHECK(nibble::to_string(static_cast<error_code>(i)) == code_names[i]);
  }
  CHECK(nibble::to_string(static_cast<error_code>(code_names.size())) == "unknown");
  CHECK(nibble::to_string(error_code::unsupported_architecture) == "unsupported_architecture");
}

TEST_CASE("a message names file, tensor, field, what was found and what was expected", "[error]") {
  const error full(error_code::size_mismatch, {.file = "model.apr",
                                               .tensor = "q_proj.weight",
                                               .field = "size",
                                               .found = "20 bytes",
                                               .expected = "40 bytes"});
  CHECK(std::string(full.what()) ==
        "model.apr: tensor 'q_proj.weight': size: size_mismatch: found 20 bytes, expected 40 bytes");
  CHECK(full.code() == error_code::size_mismatch);
  CHECK(full.detail().tensor == "q_proj.weight");
}

TEST_CASE("a message leaves out what is not known", "[error]") {
  const auto message = [](nibble::error_detail detail) {
    return std::string(error(error_code::truncated, std::move(detail)).what());
  };
  CHECK(message({}) == "truncated");
  CHECK(message({.file = "a.apr"}) == "a.apr: truncated");
  CHECK(message({.tensor = "w"}) == "tensor 'w': truncated");
  CHECK(message({.field = "index"}) == "index: truncated");
  CHECK(message({.found = "3"}) == "truncated: found 3");
  CHECK(message({.expected = "4"}) == "truncated: expected 4");
  CHECK(message({.found = "3", .expected = "4"}) == "truncated: found 3, expected 4");
}

TEST_CASE("a message stays short, whatever a stranger calls a tensor or a file", "[error]") {
  const std::string endless(1'000'000, 'n');
  const error long_names(error_code::truncated, {.file = endless, .tensor = endless, .found = endless});
  const std::string_view message = long_names.what();
  CHECK(message.size() < 6000);
  CHECK(message.find("n...'") != std::string_view::npos);
  CHECK(long_names.detail().tensor == endless);
  CHECK(long_names.in_file("other").detail().file == endless);
}

TEST_CASE("control characters of strangers never reach the message, but stay in the detail",
          "[error]") {
  const std::string hostile = "a\n\x1b[31m\xFF";
  const std::string escaped = "a\\x0a\\x1b[31m\\xff";
  const error thrown(
      error_code::bad_name,
      {.file = hostile, .tensor = hostile, .field = hostile, .found = hostile, .expected = hostile});
  CHECK(std::string(thrown.what()) == escaped + ": tensor '" + escaped + "': " + escaped +
                                          ": bad_name: found " + escaped + ", expected " + escaped);
  CHECK(thrown.detail().file == hostile);
  CHECK(thrown.detail().expected == hostile);
}

TEST_CASE("an error takes on the file it arose in unless it names one", "[error]") {
  const error without(error_code::bad_index, {.field = "index", .found = "2 entries"});
  const error named = without.in_file("model.apr");
  CHECK(std::string(named.what()) == "model.apr: index: bad_index: found 2 entries");
  CHECK(named.code() == error_code::bad_index);
  CHECK(named.detail().field == "index");
  CHECK(std::string(without.what()) == "index: bad_index: found 2 entries");
  CHECK(std::string(named.in_file("other.apr").what()) == named.what());
}

TEST_CASE("an error takes on the tensor it arose in unless it names one", "[error]") {
  const error without(error_code::not_representable, {.file = "a.apr", .found = "nan"});
  const error named = without.in_tensor("k\n");
  CHECK(std::string(named.what()) == "a.apr: tensor 'k\\x0a': not_representable: found nan");
  CHECK(named.detail().tensor == "k\n");
  CHECK(named.code() == error_code::not_representable);
  CHECK(without.detail().tensor.empty());
  CHECK(std::string(named.in_tensor("other").what()) == named.what());
}

TEST_CASE("a message stays readable however much a file says, and the detail keeps all of it",
          "[error]") {
  const std::string endless(1000000, '\x01');
  const error thrown(error_code::bad_metadata, {.found = endless, .expected = endless});
  CHECK(std::string(thrown.what()).size() < 5000);
  CHECK(std::string(thrown.what()).find("...") != std::string::npos);
  CHECK(thrown.detail().found == endless);
  // What this library says of its own accord is never cut.
  const std::string reasonable(400, 'x');
  const error whole(error_code::bad_metadata, {.found = reasonable});
  CHECK(std::string(whole.what()) == "bad_metadata: found " + reasonable);
}

TEST_CASE("an error is caught as a standard exception", "[error]") {
  try {
    throw error(error_code::damaged, {.tensor = "w"});
  } catch (const std::runtime_error& caught) {
    CHECK(std::string(caught.what()) == "tensor 'w': damaged");
  }
}

}  // namespace

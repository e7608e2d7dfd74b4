#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble_command {

/// Looks through a JSON text for what a parser would pass over: a key that an object has twice, a whole
/// number of more than 64 bits, which would be rounded.
class json_strictness final : public nlohmann::json_sax<nlohmann::json> {
 public:
  /// What was found, empty while there is nothing.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(std::int64_t) override { return true; }
  bool number_unsigned(std::uint64_t) override { return true; }
  bool number_float(double, const std::string& text) override {
    if (text.find_first_of(".eE") != std::string::npos) return true;
    problem_ = "the whole number " + text + ", which 64 bits do not hold";
    return false;
  }
  bool string(std::string&) override { return true; }
  bool binary(nlohmann::json::binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return true;
  }
  bool key(std::string& name) override {
    if (keys_.back().insert(name).second) return true;
    problem_ = "the key '" + name + "' twice in one object";
    return false;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t at, const std::string&,
                   const nlohmann::json::exception& problem) override {
    // Its own text begins with a number in brackets that says nothing to a user.
    problem_ = problem.id == 406 ? std::string("a number that no double holds")
                                 : nibble::join_text({"no JSON at byte ", at});
    return false;
  }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string problem_;
};

/// The value of a JSON text that a person wrote, any value; `field` names it in messages. Throws
/// bad_metadata for what is no JSON, for a key that an object has twice and for a number that JSON
/// cannot hold.
[[nodiscard]] inline nlohmann::json parse_strictly(std::string_view text, std::string_view field) {
  text = nibble::trim_json(text);
  nibble::memory_budget endless;
  nibble::require_parsable_json(text, field, endless);
  json_strictness strictness;
  if (!nlohmann::json::sax_parse(text, &strictness)) {
    throw nibble::error(nibble::error_code::bad_metadata,
                        {.field = std::string(field),
                         .found = strictness.problem(),
                         .expected = "JSON, every key once, whole numbers of 64 bits"});
  }
  return nlohmann::json::parse(text);
}

}  // namespace nibble_command

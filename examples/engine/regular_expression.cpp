#include "regular_expression.hpp"

#include <cstdint>
#include <limits>
#include <string>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <fmt/format.h>

#include <nibble/core/error.hpp>

namespace nibble_engine {
namespace {

[[noreturn]] void refuse(std::string_view field, int problem) {
  PCRE2_UCHAR message[128] = {};
  pcre2_get_error_message(problem, message, sizeof(message));
  throw nibble::error(nibble::error_code::invalid_argument,
                      {.field = std::string(field),
                       .found = reinterpret_cast<const char*>(message),
                       .expected = "what PCRE2 can match"});
}

/// The pattern with \s and \S spelt out, within brackets and outside of them.
std::string with_white_space(std::string_view pattern) {
  constexpr std::string_view white_space = R"(\p{Z}\t-\r\x{85})";
  std::string out;
  bool is_in_class = false;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const std::string_view two = pattern.substr(at, 2);
    if (two == R"(\s)") {
      out += is_in_class ? std::string(white_space) : fmt::format("[{}]", white_space);
      ++at;
    } else if (two == R"(\S)" && !is_in_class) {
      out += fmt::format("[^{}]", white_space);
      ++at;
    } else if (two[0] == '\\') {
      out += two;
      ++at;
    } else {
      if (two[0] == '[') is_in_class = true;
      if (two[0] == ']') is_in_class = false;
      out += two[0];
    }
  }
  return out;
}

struct release_match {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  void operator()(pcre2_match_context* limits) const { pcre2_match_context_free(limits); }
};

}  // namespace

void regular_expression::release::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

regular_expression::regular_expression(std::string_view pattern) {
  const std::string spelt_out = with_white_space(pattern);
  int problem = 0;
  PCRE2_SIZE at = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelt_out.data()), spelt_out.size(),
                            PCRE2_UTF | PCRE2_UCP, &problem, &at, nullptr));
  if (!code_) refuse("pattern", problem);
  // Where there is no compiler for this processor the pattern is interpreted.
  static_cast<void>(pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE));
}

void regular_expression::split(std::string_view text, std::vector<std::string_view>& parts) const {
  const std::unique_ptr<pcre2_match_data, release_match> match(
      pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  const std::unique_ptr<pcre2_match_context, release_match> limits(pcre2_match_context_create(nullptr));
  if (!match || !limits) throw std::bad_alloc();
  // Backing off through a long run of white space counts too, and is linear.
  pcre2_set_match_limit(limits.get(), std::numeric_limits<std::uint32_t>::max());
  const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(match.get());

  std::size_t behind_last = 0;
  for (std::size_t from = 0; from < text.size();) {
    const int count = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                  from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), limits.get());
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) refuse("text", count);
    if (bounds[0] > behind_last) parts.push_back(text.substr(behind_last, bounds[0] - behind_last));
    parts.push_back(text.substr(bounds[0], bounds[1] - bounds[0]));
    behind_last = from = bounds[1];
  }
  if (behind_last < text.size()) parts.push_back(text.substr(behind_last));
}

}  // namespace nibble_engine

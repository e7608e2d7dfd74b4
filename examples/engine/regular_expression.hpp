#pragma once

#include <memory>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace nibble_engine {

/// A regular expression of PCRE2 with Unicode's properties, compiled to machine code where PCRE2 can.
class regular_expression {
 public:
  /// Compiles a pattern. White space, `\s`, is Unicode's White_Space as in the engines that train
  /// tokenizers; PCRE2's own has U+180E as well. Throws nibble::error invalid_argument where the
  /// pattern is malformed.
  explicit regular_expression(std::string_view pattern);

  /// Adds the matches in `text` to `parts`, and what stands between them, in order and none empty.
  /// `text` is UTF-8. Throws nibble::error invalid_argument where PCRE2 gives up.
  void split(std::string_view text, std::vector<std::string_view>& parts) const;

 private:
  struct release {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, release> code_;
};

}  // namespace nibble_engine

#if defined(NIBBLE_WITH_CALIBRATION)

#include <engine/calibration.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/thread_pool.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>

#include "random_model.hpp"

using namespace nibble_engine_test;
using nibble_engine::calibration_options;

namespace {

std::vector<token_ids> texts_for(const nibble_engine::model& model, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<token_ids> texts(12, token_ids(model.config().context));
  for (token_ids& text : texts) {
    for (std::uint32_t& token : text) {
      token = static_cast<std::uint32_t>(generator() % model.config().vocabulary);
    }
  }
  return texts;
}

/// Sum of the squares of what packing changes of the logits of texts.
double logit_error(nibble_engine::model& packed, nibble_engine::model& plain,
                   const std::vector<token_ids>& texts) {
  double error = 0.0;
  for (const token_ids& text : texts) {
    const std::vector<float> found = logits_of(packed, text, text.size());
    const std::vector<float> expected = logits_of(plain, text, text.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double off = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
      error += off * off;
    }
  }
  return error;
}

nibble_engine::weight& find_weight(nibble_engine::model& in, const std::string& name) {
  for (std::size_t layer = 0; layer < in.config().layers; ++layer) {
    for (const auto& list : in.decoder().weights_of(layer)) {
      for (nibble_engine::weight* const each : list) {
        if (each->name == name) return *each;
      }
    }
  }
  throw std::runtime_error("no weight " + name);
}

/// The matrix, [rows, columns], whose products with x are nearest to wanted(token, row), with so much
/// of the inputs' mean square as a damping that holds it near w: by Gauss's elimination.
template <class Wanted>
std::vector<double> least_squares(const std::vector<float>& w, std::size_t rows, std::size_t columns,
                                  const std::vector<float>& x, const Wanted& wanted, double damping) {
  std::vector<double> h(columns * columns);
  std::vector<double> right(rows * columns);
  for (std::size_t token = 0; token < x.size() / columns; ++token) {
    const float* const inputs = &x[token * columns];
    for (std::size_t i = 0; i < columns; ++i) {
      for (std::size_t j = 0; j < columns; ++j) {
        h[i * columns + j] += static_cast<double>(inputs[i]) * static_cast<double>(inputs[j]);
      }
    }
    for (std::size_t row = 0; row < rows; ++row) {
      const double aim = wanted(token, row);
      for (std::size_t i = 0; i < columns; ++i) {
        right[row * columns + i] += aim * static_cast<double>(inputs[i]);
      }
    }
  }
  double trace = 0.0;
  for (std::size_t i = 0; i < columns; ++i) trace += h[i * columns + i];
  const double added = damping * trace / static_cast<double>(columns);
  for (std::size_t i = 0; i < columns; ++i) h[i * columns + i] += added;
  for (std::size_t i = 0; i < right.size(); ++i) right[i] += added * static_cast<double>(w[i]);
  for (std::size_t pivot = 0; pivot < columns; ++pivot) {
    for (std::size_t i = 0; i < columns; ++i) {
      if (i == pivot) continue;
      const double factor = h[i * columns + pivot] / h[pivot * columns + pivot];
      for (std::size_t j = pivot; j < columns; ++j)
        h[i * columns + j] -= factor * h[pivot * columns + j];
      for (std::size_t row = 0; row < rows; ++row) {
        right[row * columns + i] -= factor * right[row * columns + pivot];
      }
    }
  }
  for (std::size_t i = 0; i < right.size(); ++i) {
    const std::size_t column = i % columns;
    right[i] /= h[column * columns + column];
  }
  return right;
}

}  // namespace

TEST_CASE("a calibrated model's logits are nearer to the model's, and it runs on with them",
          "[engine]") {
  for (const std::string& name : random_model_names()) {
    CAPTURE(name);
    random_model golden(name);
    golden.widen_context(64);
    const stored_model stored(golden);
    nibble_engine::model plain = stored.open();
    const std::vector<token_ids> texts = texts_for(plain, 1);
    const auto error_with = [&](double damping, bool by_importance) {
      nibble_engine::model packed = stored.open();
      const auto made = nibble_engine::calibrate(
          packed, texts,
          {.encoding_of = [](const nibble_engine::weight&) { return nibble::encoding::q4; },
           .damping = damping,
           .by_importance = by_importance});
      CHECK(made.size() == plain.decoder().weights_of(0).size() * plain.config().layers +
                               (name == "gpt2" ? 0 : 3 * plain.config().layers) + 1);
      return logit_error(packed, plain, texts);
    };
    // So much damping that every column counts alike, and none has to do with another.
    const double uncalibrated = error_with(1e9, false);
    CHECK(error_with(0.01, false) < 0.8 * uncalibrated);
    CHECK(error_with(0.01, true) < 0.8 * uncalibrated);
  }
}

// What is wanted of a weight's outputs is the plain model's, and where they are added to the activations
// what these lack as well. Least squares for that are computed here, in float64; q8 adds next to nothing.
TEST_CASE("weights make up for what packing changed before them, as far as least squares allow",
          "[engine]") {
  random_model golden("llama_halves");
  golden.widen_context(64);
  const stored_model stored(golden);
  nibble_engine::model plain = stored.open();
  nibble_engine::model packed = stored.open();
  const std::vector<token_ids> texts = texts_for(plain, 3);
  const std::vector<std::string> looked_at{"blk.1.attn_q.weight", "blk.1.attn_output.weight",
                                           "blk.1.ffn_down.weight"};
  const auto made = nibble_engine::calibrate(
      packed, texts,
      {.encoding_of = [&](const nibble_engine::weight& weight) -> std::optional<nibble::encoding> {
        if (weight.name.starts_with("blk.0.")) return nibble::encoding::q4;
        const bool is_one =
            std::find(looked_at.begin(), looked_at.end(), weight.name) != looked_at.end();
        return is_one ? std::optional(nibble::encoding::q8) : std::nullopt;
      }});
  // The inputs of the three and what goes into and comes out of block 1, of every token.
  struct passage {
    std::map<std::string, std::vector<float>> inputs{};
    std::vector<float> into{};
    std::vector<float> out_of{};
  };
  const auto pass_through = [&](nibble_engine::model& by) {
    passage seen;
    const std::size_t hidden = by.config().hidden;
    nibble_engine::model_config one_layer = by.config();
    one_layer.layers = 1;
    nibble_engine::key_value_cache cache(one_layer, by.config().context);
    for (const token_ids& text : texts) {
      std::vector<float> x(text.size() * hidden);
      by.decoder().embed(text, x);
      by.decoder().run_block(0, x, cache);
      seen.into.insert(seen.into.end(), x.begin(), x.end());
      by.decoder().observe(
          [&](std::span<const nibble_engine::weight* const> weights, std::span<const float> inputs) {
            std::vector<float>& all = seen.inputs[weights.front()->name];
            all.insert(all.end(), inputs.begin(), inputs.end());
          });
      by.decoder().run_block(1, x, cache);
      by.decoder().observe({});
      seen.out_of.insert(seen.out_of.end(), x.begin(), x.end());
    }
    return seen;
  };
  const passage of_plain = pass_through(plain);
  const passage of_packed = pass_through(packed);
  for (const std::string& name : looked_at) {
    CAPTURE(name);
    const nibble::tensor_view& before = find_weight(plain, name).stored;
    const nibble::tensor_view& after = find_weight(packed, name).stored;
    const auto rows = static_cast<std::size_t>(before.rows());
    const auto columns = static_cast<std::size_t>(before.cols());
    std::vector<float> w(rows * columns);
    std::vector<float> q(rows * columns);
    nibble::dequantize(before, w);
    nibble::dequantize(after, q);
    const std::vector<float>& x = of_packed.inputs.at(name);
    const std::vector<float>& plain_x = of_plain.inputs.at(name);
    const std::size_t tokens = x.size() / columns;
    const auto product_of = [&](const auto& matrix, std::size_t row, std::span<const float> inputs) {
      double sum = 0.0;
      for (std::size_t i = 0; i < columns; ++i) {
        sum += static_cast<double>(matrix[row * columns + i]) * static_cast<double>(inputs[i]);
      }
      return sum;
    };
    const auto of_token = [&](const std::vector<float>& all, std::size_t token) {
      return std::span(all).subspan(token * columns, columns);
    };
    const auto difference = [](const std::vector<float>& a, const std::vector<float>& b,
                               std::size_t at) {
      return static_cast<double>(a[at]) - static_cast<double>(b[at]);
    };
    const auto wanted = [&](std::size_t token, std::size_t row) {
      const std::size_t at = token * rows + row;
      if (name == "blk.1.ffn_down.weight") {
        return difference(of_plain.out_of, of_packed.out_of, at) +
               product_of(q, row, of_token(x, token));
      }
      const double own = product_of(w, row, of_token(plain_x, token));
      if (name == "blk.1.attn_q.weight") return own;
      return own + difference(of_plain.into, of_packed.into, at);
    };
    const auto error_of = [&](const auto& matrix) {
      double error = 0.0;
      for (std::size_t token = 0; token < tokens; ++token) {
        for (std::size_t row = 0; row < rows; ++row) {
          const double off = wanted(token, row) - product_of(matrix, row, of_token(x, token));
          error += off * off;
        }
      }
      return error;
    };
    const std::vector<double> fitted = least_squares(w, rows, columns, x, wanted, 0.01);
    CHECK(error_of(fitted) < 0.95 * error_of(w));
    CHECK(error_of(q) < 1.02 * error_of(fitted));
  }
}

TEST_CASE("a head that is the embedding is packed, and rows are looked up in what was packed",
          "[engine]") {
  const random_model golden("gpt2");
  const stored_model stored(golden);
  nibble_engine::model packed = stored.open();
  nibble_engine::model plain = stored.open();
  const auto made = nibble_engine::calibrate(
      packed, texts_for(packed, 4),
      {.encoding_of = [](const nibble_engine::weight& weight) -> std::optional<nibble::encoding> {
        if (weight.name == "token_embd.weight") return nibble::encoding::q4;
        return std::nullopt;
      }});
  REQUIRE(made.size() == 1);
  const nibble_engine::calibrated_weight& embedding = made.at("token_embd.weight");
  std::vector<float> values(static_cast<std::size_t>(embedding.shape.elements()));
  nibble::dequantize({"embedding", embedding.encoding, embedding.shape, embedding.bytes}, values);
  const token_ids text{5, 70, 5, 12};
  const std::size_t hidden = packed.config().hidden;
  std::vector<float> found(text.size() * hidden);
  std::vector<float> otherwise(text.size() * hidden);
  packed.decoder().embed(text, found);
  plain.decoder().embed(text, otherwise);
  std::vector<float> original(static_cast<std::size_t>(embedding.shape.elements()));
  nibble::dequantize(plain.decoder().head().stored, original);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::size_t at = text[i / hidden] * hidden + i % hidden;
    // Positions are added to both.
    CHECK(std::fabs((found[i] - otherwise[i]) - (values[at] - original[at])) < 1e-6F);
  }
  CHECK(packed.decoder().head().stored.bytes().data() == embedding.bytes.data());
}

TEST_CASE("calibrated bytes do not depend on threads, and what is not asked for stays", "[engine]") {
  const random_model golden("qwen2");
  const stored_model stored(golden);
  nibble_engine::model one = stored.open();
  nibble_engine::model three = stored.open();
  const std::vector<token_ids> texts = texts_for(one, 2);
  calibration_options options;
  options.encoding_of = [](const nibble_engine::weight& weight) -> std::optional<nibble::encoding> {
    if (weight.name.find("ffn_down") == std::string::npos) return std::nullopt;
    return nibble::encoding::q8;
  };
  std::size_t calls = 0;
  options.progress = [&](std::size_t done, std::size_t all) {
    CHECK(done == ++calls);
    CHECK(all == one.config().layers + 1);
    return true;
  };
  const auto first = nibble_engine::calibrate(one, texts, options);
  CHECK(calls == one.config().layers + 1);
  CHECK(first.size() == one.config().layers);
  nibble::thread_pool pool(3);
  options.executor = &pool;
  options.progress = {};
  const auto second = nibble_engine::calibrate(three, texts, options);
  for (const auto& [name, weight] : first) {
    CHECK(weight.encoding == nibble::encoding::q8);
    CHECK(second.at(name).bytes == weight.bytes);
  }
}

TEST_CASE("text that a model cannot run, and none, are refused; a progress callback cancels",
          "[engine]") {
  const random_model golden("llama_halves");
  nibble_engine::model opened = stored_model(golden).open();
  const auto code_with = [&](const std::vector<token_ids>& texts, bool goes_on = true) {
    return nibble_test::code_of([&] {
      (void)nibble_engine::calibrate(
          opened, texts,
          {.encoding_of = [](const nibble_engine::weight&) { return nibble::encoding::q4; },
           .progress = [&](std::size_t, std::size_t) { return goes_on; }});
    });
  };
  CHECK(code_with({}) == nibble::error_code::invalid_argument);
  CHECK(code_with({token_ids{}}) == nibble::error_code::invalid_argument);
  CHECK(code_with({token_ids(opened.config().context + 1)}) == nibble::error_code::out_of_range);
  CHECK(code_with({token_ids{static_cast<std::uint32_t>(opened.config().vocabulary)}}) ==
        nibble::error_code::out_of_range);
  CHECK(code_with({golden.tokens}, false) == nibble::error_code::cancelled);
}

#endif

#include <engine/key_value_cache.hpp>

#include <support/catch.hpp>

TEST_CASE("a cache that grows keeps what is in it", "[engine]") {
  nibble_engine::model_config config;
  config.layers = 3;
  config.key_value_heads = 2;
  config.head_dim = 5;
  nibble_engine::key_value_cache cache(config, std::size_t{1} << 40U);
  const auto value_at = [](std::size_t layer, std::size_t head, std::size_t position, std::size_t i) {
    return static_cast<float>(((layer * 2 + head) * 1000 + position) * 5 + i);
  };
  for (const std::size_t tokens : {1U, 1U, 4U, 1U, 70U, 3U}) {
    cache.reserve(tokens);
    for (std::size_t layer = 0; layer < 3; ++layer) {
      for (std::size_t head = 0; head < 2; ++head) {
        for (std::size_t token = 0; token < tokens; ++token) {
          const std::size_t position = cache.length() + token;
          for (std::size_t i = 0; i < 5; ++i) {
            cache.keys(layer, head)[position * 5 + i] = value_at(layer, head, position, i);
            cache.values(layer, head)[position * 5 + i] = -value_at(layer, head, position, i);
          }
        }
      }
    }
    cache.grow(tokens);
  }
  REQUIRE(cache.length() == 80);
  CHECK(cache.capacity() == std::size_t{1} << 40U);
  for (std::size_t layer = 0; layer < 3; ++layer) {
    for (std::size_t head = 0; head < 2; ++head) {
      for (std::size_t position = 0; position < 80; ++position) {
        for (std::size_t i = 0; i < 5; ++i) {
          CHECK(cache.keys(layer, head)[position * 5 + i] == value_at(layer, head, position, i));
          CHECK(cache.values(layer, head)[position * 5 + i] == -value_at(layer, head, position, i));
        }
      }
    }
  }
}

#include "engine/channel/factory/instance_names.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

namespace ferry {

std::string file_name_of(const runtime_instance_id& instance) {
  const auto escaped = [](std::string_view part) {
    std::string out(part);
    std::ranges::replace(out, '-', '~');
    return out;
  };
  std::string name;
  if (!instance.space().empty()) name.append(escaped(instance.space())).append("-");
  return name.append(name_of(instance.type())).append("-").append(escaped(instance.instance()));
}

std::string name_hash(std::string_view name) {
  __extension__ typedef unsigned __int128 uint128;  // pedantic: no standard type
  constexpr uint128 basis = (uint128{0x6c62272e07bb0142} << 64) | 0x62b821756295c58d;
  constexpr uint128 prime = (uint128{1} << 88) | 0x13b;
  uint128 hash = basis;
  for (const char c : name) {
    hash ^= static_cast<unsigned char>(c);
    hash *= prime;
  }
  std::array<char, 33> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx%016llx",
                static_cast<unsigned long long>(hash >> 64),
                static_cast<unsigned long long>(hash & ~std::uint64_t{0}));
  return digits.data();
}

}  // namespace ferry

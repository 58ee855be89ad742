#include "engine/channel/instance_id.h"

#include <algorithm>

namespace ferry {

std::string_view name_of(runtime_type type) noexcept {
  switch (type) {
    case runtime_type::process: return "process";
    case runtime_type::kubernetes: return "kubernetes";
    case runtime_type::wasm: return "wasm";
  }
  return "unknown";
}

result<runtime_type> parse_runtime_type(std::string_view name) {
  for (const auto type : {runtime_type::process, runtime_type::kubernetes, runtime_type::wasm}) {
    if (name == name_of(type)) return type;
  }
  return error{errc::unsupported_runtime, 0, "no runtime type of this name"};
}

bool is_valid_id_part(std::string_view part) noexcept {
  if (part.empty() || part.size() > runtime_instance_id::max_part_bytes) return false;
  if (part == "." || part == "..") return false;
  return std::ranges::all_of(part, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

result<runtime_instance_id> runtime_instance_id::make(runtime_type type, std::string_view instance,
                                                      std::string_view space) {
  if (name_of(type) == "unknown") {
    return error{errc::unsupported_runtime, 0, "no runtime type of this number"};
  }
  if (!is_valid_id_part(instance)) {
    return error{errc::invalid_configuration, 0,
                 "an instance id that is not 1 to 64 of A-Za-z0-9._-"};
  }
  if (!space.empty() && !is_valid_id_part(space)) {
    return error{errc::invalid_configuration, 0, "a namespace that is not 1 to 64 of A-Za-z0-9._-"};
  }
  return runtime_instance_id(type, instance, space);
}

result<runtime_instance_id> runtime_instance_id::parse(std::string_view full_id) {
  const auto last = full_id.rfind(':');
  if (last == std::string_view::npos) {
    return error{errc::invalid_configuration, 0, "an id that is not type:instance"};
  }
  const std::string_view instance = full_id.substr(last + 1);
  std::string_view type = full_id.substr(0, last), space;
  if (const auto first = type.find(':'); first != std::string_view::npos) {
    space = type.substr(0, first);
    type = type.substr(first + 1);
    if (space.empty()) return error{errc::invalid_configuration, 0, "an empty namespace"};
  }
  const auto known = parse_runtime_type(type);
  if (!known) return known.error();
  return make(*known, instance, space);
}

std::string runtime_instance_id::full_id() const {
  std::string id;
  if (!space_.empty()) id.append(space_).append(":");
  return id.append(name_of(type_)).append(":").append(instance_);
}

}  // namespace ferry

std::size_t std::hash<ferry::runtime_instance_id>::operator()(
    const ferry::runtime_instance_id& id) const noexcept {
  return std::hash<std::string>{}(id.full_id());
}

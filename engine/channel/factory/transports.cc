#include "engine/channel/factory/transports.h"

#include <utility>

namespace ferry {

result<void, channel_error> transport_registry::add(const std::string& name, transport how) {
  if (name.empty()) return channel_error(errc::invalid_configuration, "a transport without a name");
  if (!how.connect) {
    return channel_error(errc::invalid_configuration, "transport " + name + " cannot connect");
  }
  auto added = std::make_shared<const transport>(std::move(how));
  const std::lock_guard lock(mutex_);
  transports_.insert_or_assign(name, std::move(added));
  return {};
}

std::shared_ptr<const transport> transport_registry::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = transports_.find(name);
  return found == transports_.end() ? nullptr : found->second;
}

std::vector<std::string> transport_registry::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> all;
  for (const auto& [name, how] : transports_) all.push_back(name);
  return all;
}

}  // namespace ferry

// Einsum, as transposes, sums and products of matrices.
#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "program/lower/lowering.hpp"

namespace rdquant::program {
namespace {

/// Axes by what they run over: a letter's code, or those of the ellipsis, kEllipsis and up, from the last one on.
using Letters = std::vector<int>;
constexpr int kEllipsis = 256;

struct Operand {
  ValueId id;
  Letters letters;
};

bool holds(const Letters& letters, int letter) { return std::ranges::find(letters, letter) != letters.end(); }

Letters joined(Letters first, const Letters& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// One equation on its way to steps.
class Einsum {
 public:
  explicit Einsum(Lowering& node) : node_(node) {}

  void run() {
    read(node_.text("equation", ""));
    for (Operand& operand : operands_) {
      expand(operand);
      while (take_diagonal(operand)) {
      }
    }
    Operand result = operands_[0];
    for (std::size_t i = 1; i < operands_.size(); ++i) {
      Letters later = output_;
      for (std::size_t k = i + 1; k < operands_.size(); ++k) later = joined(later, operands_[k].letters);
      result = combined(result, operands_[i], later);
    }
    result = summed(result, output_);
    node_.give(0, arranged(result, output_));
  }

 private:
  void read(std::string text) {
    std::erase(text, ' ');
    const std::size_t arrow = text.find("->");
    std::string left = text.substr(0, arrow);
    for (std::size_t begin = 0; begin <= left.size();) {
      const std::size_t end = std::min(left.find(',', begin), left.size());
      const std::size_t i = operands_.size();
      node_.check(i < node_.inputs(), "the equation '" + text + "' has more terms than there are inputs");
      const ValueId id = node_.input(i);
      operands_.push_back({id, letters_of(left.substr(begin, end - begin), node_.rank(id))});
      begin = end + 1;
    }
    node_.check(operands_.size() == node_.inputs(),
                "the equation '" + text + "' has fewer terms than there are inputs");
    for (const Operand& operand : operands_) note_sizes(operand);
    const Letters ellipsis = letters_of_ellipsis(most_);
    output_ = arrow == std::string::npos ? joined(ellipsis, letters_seen_once())
                                         : letters_of(text.substr(arrow + 2), -1);
    for (const int letter : output_) {
      node_.check(sizes_.contains(letter) && std::ranges::count(output_, letter) == 1,
                  "in the equation '" + text + "' the output has a letter twice, or one that no input has");
    }
    node_.check(std::ranges::all_of(ellipsis, [&](int letter) { return holds(output_, letter); }),
                "the equation '" + text + "' sums over its ellipsis");
  }

  [[nodiscard]] static Letters letters_of_ellipsis(int count) {
    Letters letters;
    for (int i = count; i-- > 0;) letters.push_back(kEllipsis + i);
    return letters;
  }

  /// Those of one term; `rank` axes, or −1: as many as the widest ellipsis makes them.
  [[nodiscard]] Letters letters_of(std::string term, std::int64_t rank) {
    const std::size_t dots = term.find("...");
    std::string rest = term;
    if (dots != std::string::npos) rest.erase(dots, 3);
    const bool valid =
        std::ranges::all_of(rest, [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
    const auto count = rank < 0 ? most_ : static_cast<int>(rank - std::ssize(rest));
    node_.check(valid && count >= 0 && (rank < 0 || count == 0 || dots != std::string::npos),
                "the term '" + term + "' of the equation does not fit its input");
    Letters letters;
    for (std::size_t i = 0; i <= rest.size(); ++i) {
      if (i == dots) letters = joined(letters, letters_of_ellipsis(count));
      if (i < rest.size()) letters.push_back(static_cast<unsigned char>(rest[i]));
    }
    if (dots != std::string::npos) most_ = std::max(most_, count);
    return letters;
  }

  [[nodiscard]] Letters letters_seen_once() const {
    std::map<int, int> count;
    for (const Operand& operand : operands_) {
      for (const int letter : operand.letters) ++count[letter];
    }
    Letters once;
    for (const auto& [letter, times] : count) {
      if (times == 1 && letter < kEllipsis) once.push_back(letter);
    }
    return once;
  }

  void note_sizes(const Operand& operand) {
    const core::Shape& shape = node_.shape(operand.id);
    for (std::size_t i = 0; i < shape.size(); ++i) {
      std::int64_t& size = sizes_.try_emplace(operand.letters[i], shape[i]).first->second;
      node_.check(size == shape[i] || size == 1 || shape[i] == 1,
                  "an axis of " + std::to_string(size) + " does not fit one of " + std::to_string(shape[i]));
      if (size == 1) size = shape[i];
    }
  }

  [[nodiscard]] core::Shape sizes(const Letters& letters) const {
    core::Shape shape;
    for (const int letter : letters) shape.push_back(sizes_.at(letter));
    return shape;
  }
  [[nodiscard]] std::int64_t count(const Letters& letters) const {
    return core::element_count(sizes(letters));
  }

  /// Repeats axes of one element that are longer elsewhere.
  void expand(Operand& operand) {
    const core::Shape full = sizes(operand.letters);
    if (node_.shape(operand.id) != full)
      operand.id = node_.emit(Expand{}, {operand.id}, node_.dtype(operand.id), full);
  }

  /// Of a letter that stands for two axes, if there is one, their diagonal: every (n + 1)-th of n · n.
  bool take_diagonal(Operand& operand) {
    const auto twice = std::ranges::find_if(
        operand.letters, [&](int letter) { return std::ranges::count(operand.letters, letter) > 1; });
    if (twice == operand.letters.end()) return false;
    const int letter = *twice;
    std::vector<std::int64_t> first, last;
    for (std::size_t i = 0; i < operand.letters.size(); ++i) {
      const bool one = operand.letters[i] == letter && last.size() < 2;
      (one ? last : first).push_back(static_cast<std::int64_t>(i));
    }
    Letters others;
    for (const std::int64_t i : first) others.push_back(operand.letters[at(i)]);
    const std::int64_t n = sizes_.at(letter);
    core::Shape shape = sizes(others), flat = shape;
    shape.insert(shape.end(), {n, n});
    flat.push_back(n * n);
    first.insert(first.end(), last.begin(), last.end());
    const core::DType dtype = node_.dtype(operand.id);
    ValueId id = node_.emit(Transpose{first}, {operand.id}, dtype, shape);
    id = node_.reshape(id, flat);
    Slice slice{std::vector<std::int64_t>(flat.size(), 0), std::vector<std::int64_t>(flat.size(), 1)};
    slice.steps.back() = n + 1;
    flat.back() = n;
    others.push_back(letter);
    operand = {node_.emit(std::move(slice), {id}, dtype, flat), std::move(others)};
    return true;
  }

  /// The sum over all letters that are not in `kept`.
  Operand summed(const Operand& operand, const Letters& kept) {
    Reduce sum;
    Letters left;
    for (std::size_t i = 0; i < operand.letters.size(); ++i) {
      if (holds(kept, operand.letters[i])) {
        left.push_back(operand.letters[i]);
      } else {
        sum.axes.push_back(static_cast<std::int64_t>(i));
      }
    }
    if (sum.axes.empty()) return operand;
    return {node_.emit(std::move(sum), {operand.id}, node_.dtype(operand.id), sizes(left)), left};
  }

  /// The operand with its axes in the order of `letters`.
  ValueId arranged(const Operand& operand, const Letters& letters) {
    if (operand.letters == letters) return operand.id;
    Transpose transpose;
    for (const int letter : letters) {
      transpose.permutation.push_back(std::ranges::find(operand.letters, letter) - operand.letters.begin());
    }
    return node_.emit(std::move(transpose), {operand.id}, node_.dtype(operand.id), sizes(letters));
  }

  /// The same as matrices: [batch, rows, columns], or [rows, columns] without a batch.
  ValueId matrices(const Operand& operand, const Letters& batch, const Letters& rows,
                   const Letters& columns) {
    const ValueId id = arranged(operand, joined(joined(batch, rows), columns));
    core::Shape shape = {count(rows), count(columns)};
    if (!batch.empty()) shape.insert(shape.begin(), count(batch));
    return node_.reshape(id, std::move(shape));
  }

  /// The product of two operands, summed over letters that neither the output nor `later` terms have.
  Operand combined(const Operand& first, const Operand& second, const Letters& later) {
    const Operand a = summed(first, joined(later, second.letters));
    const Operand b = summed(second, joined(later, first.letters));
    Letters batch, inner, left, right;
    for (const int letter : a.letters) {
      Letters& kind = !holds(b.letters, letter) ? left : holds(later, letter) ? batch : inner;
      kind.push_back(letter);
    }
    for (const int letter : b.letters) {
      if (!holds(a.letters, letter)) right.push_back(letter);
    }
    const Letters result = joined(joined(batch, left), right);
    core::Shape shape = {count(left), count(right)};
    if (!batch.empty()) shape.insert(shape.begin(), count(batch));
    const core::DType dtype = node_.dtype(a.id);
    ValueId id = kNone;
    if (inner.empty()) {
      id = node_.emit(Binary{BinaryFunction::mul, {}},
                      {matrices(a, batch, left, {}), matrices(b, batch, {}, right)}, dtype, std::move(shape));
    } else {
      MatMul product;
      product.transpose_a = a.letters == joined(joined(batch, inner), left) && !left.empty();
      product.transpose_b = b.letters == joined(joined(batch, right), inner) && !right.empty();
      const ValueId x =
          product.transpose_a ? matrices(a, batch, inner, left) : matrices(a, batch, left, inner);
      const ValueId y =
          product.transpose_b ? matrices(b, batch, right, inner) : matrices(b, batch, inner, right);
      id = node_.emit(product, {x, y}, dtype, std::move(shape));
    }
    return {node_.reshape(id, sizes(result)), result};
  }

  Lowering& node_;
  std::vector<Operand> operands_;
  std::map<int, std::int64_t> sizes_;
  Letters output_;
  int most_ = 0;  ///< axes of the widest ellipsis
};

}  // namespace

void add_einsum_rules(Rules& rules) {
  rules["Einsum"] = [](Lowering& node) { Einsum(node).run(); };
}

}  // namespace rdquant::program

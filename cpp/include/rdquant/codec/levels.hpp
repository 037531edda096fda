#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

/// Lossless coding of integer levels. Format of a coded tensor (version 1); numbers are little-endian, a
/// *varint* is LEB128, a *zigzag* a varint of 2v or −2v − 1, a *block* a varint length and so many bytes:
///
///     byte     method·16 + type: method 0 constant, 1 packed, 2 fast, 3 max, 4 sparse, 5 max with
///              references; type as LevelType
///     varint   rank, then that many varints, the dimensions; nothing follows if one of them is 0
///     0        zigzag: the one value
///     1        zigzag: least value; byte: width w ≤ 32; ⌈n·w/8⌉ bytes, value − least in w bits each, low
///     first
///     2, 3, 5  model; byte: log2 of the number of lanes (0 for 3 and 5), 8 for several parts, 16 for
///     excesses;
///              varint: rows a part, if several; if shift > 0: ⌈n·shift/8⌉ bytes, the low bits of all levels;
///              the parts: each a block of its excesses, if flagged, and its bytes, with their varint length
///              before them but for the last part, which goes on to the end
///
///     4        byte: flags, 1 mixed, 2 several parts, 4 one distance, 8 excesses, and 16·log2 of the
///              number of lanes of signs; varint: rows a part, if
///              several; zigzag: common level; varint: least distance ≥ 1; model of signs; model of
///              distances, unless flag 4; if that has a table, byte: 16·split + kept; the parts
///
/// Methods 2 to 5 see the tensor as rows × columns × taps: shape[0] × shape[1] × the rest; a vector as one
/// row; and where the rest exceeds 64, all but the last dimension × the last × 1.
///
///     model    byte: flags, 1 table, 2 predicts, 4 row scales, 8 column scales, 16 tap scales, 32 centre, 64
///              shift, 128 trellis; byte: shift, if flagged; zigzag: centre, if flagged. Coded is c = (level
///              − centre) >> shift. trellis, if flagged: byte: ν, 3 or 5; varint: chains M ≥ 1. Shift and
///              centre are 0 then, and there is no table. table: varint: number of symbols S ≤ 4096; block,
///              coded: S counts, each as the difference to the one before; they sum to 65536. The symbol is c
///              itself. otherwise: byte: window W, 0 if
///              W = 1 is closed; byte: 255 if another W is closed; byte: 16·shape + (dead + 8)/2, shape ≤ 9;
///              byte: scale of the rows;
///              with row or column scales, byte: 4·(row step − 1) + column step − 1; if any of flags 2 … 16,
///              block, coded: predictors (a tap: bias, up, past taps, newest first), then row scales, column
///              scales, tap scales in steps
///     coded    adaptive binary arithmetic code of integers, cpp/src/codec/mixing/binary_coder.hpp, which begins as
///              `Coders` in cpp/src/codec/model/model.cpp says
///
/// The mean of level (row, column, tap) in 1/64 is 4·bias + up·c(row − 1) + Σ past[j]·c(tap − 1 − j), rounded
/// to 1/16 by (sum + 2) >> 2; row − 1 within the same part only. Its scale is row + column + tap, 0 … 95, σ =
/// 2^((scale − 31)/8). Symbols are residuals c − ((mean + 8) >> 4) from −W (symbol 0) to W; the two outermost
/// mean "at least W", the excess follows as varint in order of decoding. A closed window is one without
/// excesses: they mean W. How a symbol's interval out of 65536
/// follows from mean and scale is `symbol_start` in cpp/src/codec/rans/streams.hpp, with tables made from integers
/// by cpp/src/codec/model/density.cpp: the same bytes give the same levels on every machine.
///
/// The levels of a trellis are a path in Ungerboeck's code of 2^ν states, whose parity check polynomials
/// (h0, h1) are, in octal, (13, 4) for ν = 3 and (45, 10) for ν = 5. Kernel q of a part follows kernel q − M
/// at the same tap; the state of the first ones is 0. State s allows levels with v mod 2 = s mod 2, and v
/// makes it (s >> 1) xor (h0 >> 1, if v is odd) xor (h1 >> 1, if ⌊v/2⌋ is odd). Coded is c = ⌊v/2⌋ with mean
/// (mean >> 1) − 8·(v mod 2), and without the dead zone where v is odd; predictions are from v. No fewer
/// chains than lanes; the kernels of a tail go on with their chains.
///
/// A part of method 2 is a section of all its kernels (kernel q = row·columns + column of the part). A
/// section of one lane is a stream: of its B bytes 4 − B mod 2 (all, if B < 4) are the state x, the others
/// 16-bit words. x gives the symbol whose interval [start, start + width) holds x mod 2^16, becomes
/// width·⌊x/2^16⌋ + x mod 2^16 − start, and if it is then below 2^16 and a word is left, x·2^16 + word. At
/// its end x is 0 and all words are taken. A section of more lanes: varint: kernels of the tail, the last
/// ones; the lanes' states, each 4 bits, width w − 17, and its lowest w − 1 bits, low first, filled up to a
/// byte; words to the end. The kernels before the tail, counted from the section's first one, belong to lane
/// (number mod lanes); lanes take turns tap by tap, and take words from one sequence whenever they are below
/// 2^16. At the end all words are taken and every state is 2^16 + h; the lanes' h, two bytes each, low first,
/// without the zero bytes at the end of them all, are a section of the tail's kernels, of 8 lanes after 16 or
/// 32 and of one after 2 … 8. A damaged part does not pass. A part of method 3: decisions about one residual
/// after the other, mixed as in cpp/src/codec/mixing/mixed.cpp.
///
/// Method 5 is as method 3, but its parts are larger, and rows are also predicted from earlier ones of the
/// part that are like them, as cpp/src/codec/mixing/references.hpp says. A path of a trellis has as many rows as a
/// part of method 3 would: R = ⌈rows/max(1, ⌊(n + 2^17)/2^18⌋)⌉ of n levels; each R rows of a part begin
/// another.
///
/// Method 4 is for levels most of which are the same. Signs of their differences to the common level, −1, 0
/// or 1, have a closed model with W = 1 without prediction, shift, centre and table. The others are at
/// distances from it, coded less the least one, d, in the order of the elements. With a table (shift 0,
/// centre 0) the symbols are tokens: d below 2^split is its own; else, of d's width w + 1, 2^split + ((w −
/// split) << kept)
/// + the `kept` bits below the leading one, and the w − kept bits below those are raw; split ≤ 12, kept ≤
/// min(split, 7). Without, they are levels (d >> shift) + 1, predicted as 0, and the low bits are raw; their
/// density is folded (no mass below its mean, so that distribution functions are those of |z|) and their
/// scale is row + column + tap of the element in the model of distances. A part is a block of signs, coded as
/// a part of method 2 or, if mixed, of method 3; unless flag 4, a block of excesses, if flagged; a block of
/// symbols, coded likewise as a row of columns; and a block of raw bits, low first, if shift > 0 or the table
/// has more than 2^split symbols. The last block of all has no length before it. An empty block of signs
/// means zeros. Not mixed, n distances have 1 lane, from n = 2^12 on 8, from 2^15 on 16, from 2^17 on 32.
namespace rdquant::codec {

/// What the levels are stored as outside; they are handled as int32 here.
enum class LevelType : std::uint8_t { i32, i8, u8, i16, u16, i4, u4, i64, u32, boolean, i2, u2 };
inline constexpr int kLevelTypes = 12;

/// fast: decoded at hundreds of millions of levels a second. max: smaller, a hundred times slower (levels of
/// a trellis: seven times).
enum class Profile : std::uint8_t { fast, max };

struct LevelsHeader {
  LevelType type = LevelType::i32;
  std::vector<std::uint64_t> shape;
  std::uint64_t size = 0;  ///< product of the shape
};

/// What path levels are, if they are those of a trellis: Ungerboeck's code of `states` states (8 or 32), with
/// that many chains; 0 states: no trellis.
struct Trellis {
  int states = 0;
  std::uint64_t chains = 0;
};

/// Codes `levels`, of the given shape in row-major order, on up to `threads` threads (0: all cores).
///
/// @throws InvalidArgument  the shape has another number of elements, or more than 32 dimensions; `levels`
/// are no path of the trellis, or beyond ±8191 with one.
[[nodiscard]] std::vector<std::uint8_t> encode_levels(std::span<const std::int32_t> levels,
                                                      std::span<const std::uint64_t> shape, LevelType type,
                                                      Profile profile, int threads = 1, Trellis trellis = {});

/// Type and shape of coded levels, so that memory can be taken for them; nothing is decoded.
///
/// @throws CorruptFile  the bytes are no coded levels, or the shape overflows.
[[nodiscard]] LevelsHeader levels_header(std::span<const std::uint8_t> bytes);

/// The trellis of coded levels, 0 states where there is none.
///
/// @throws CorruptFile  as `levels_header`.
[[nodiscard]] Trellis levels_trellis(std::span<const std::uint8_t> bytes);

/// Decodes into `levels`, which has as many elements as the header says. Takes beside that at most 12 bytes a
/// level and 64 MiB.
///
/// @throws CorruptFile  damaged bytes; names section and offset. InvalidArgument: another size of `levels`.
void decode_levels(std::span<const std::uint8_t> bytes, std::span<std::int32_t> levels, int threads = 1);

/// What becomes of a piece of decoded levels, which begins with level number `first` of the tensor.
using TakeLevels = std::function<void(std::size_t first, std::span<const std::int32_t> levels)>;

/// Decodes piece by piece, so that a piece is still in cache when it is used; `take` is called from several
/// threads at a time. Pieces have about 2^18 levels where the tensor's parts have.
///
/// @throws CorruptFile  as above, and what `take` throws.
void decode_levels_into(std::span<const std::uint8_t> bytes, const TakeLevels& take, int threads = 1);

}  // namespace rdquant::codec

"""Emit functions that copy strided or transposed operands of a product to contiguous memory.

The functions `void (source*, stride, target*, stride, rows, columns)` are emitted once per module
and shared by all its products, since sizes and strides are arguments.

Read next: `chainrule/run/llvm/gemm.py`.
"""

from __future__ import annotations

from llvmlite import ir

from chainrule.run.llvm.instructions import I64, indices, load_vector, loop, store_vector

__all__ = ["copy_function", "transpose_function"]


def copy_function(
    module: ir.Module, element: ir.Type, lanes: int, width: int | None = None
) -> ir.Function:
    """Return the function target[r][c] = source[r][c], for `width` columns if that is known."""
    function, fresh = _declare(module, f"copy.{element}.{lanes}.{width}", element)
    if not fresh:
        return function
    source, stride, target, out_stride, rows, columns = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    whole = b.sub(columns, b.urem(columns, I64(lanes)))
    with loop(b, I64(0), rows) as row:
        line = b.gep(source, [b.mul(row, stride)])
        out = b.gep(target, [b.mul(row, out_stride)])
        if width is not None:
            for at in range(0, width, lanes):
                _copy_vector(b, line, out, I64(at), lanes, min(lanes, width - at))
        else:
            with loop(b, I64(0), whole, lanes) as c:
                _copy_vector(b, line, out, c, lanes, lanes)
            with loop(b, whole, columns) as c:
                b.store(b.load(b.gep(line, [c])), b.gep(out, [c]))
    b.ret_void()
    return function


def _copy_vector(
    b: ir.IRBuilder, line: ir.Value, out: ir.Value, at: ir.Value, lanes: int, count: int
) -> None:
    store_vector(b, b.gep(out, [at]), load_vector(b, b.gep(line, [at]), lanes, count), count)


def transpose_function(module: ir.Module, element: ir.Type, lanes: int) -> ir.Function:
    """Return the function target[c][r] = source[r][c], by squares of `lanes` in registers.

    With 1 lane, it copies element by element, in less code for operands that hold no square.
    """
    function, fresh = _declare(module, f"transpose.{element}.{lanes}", element)
    if not fresh:
        return function
    source, stride, target, out_stride, rows, columns = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))

    def place(array: ir.Value, step: ir.Value, major: ir.Value, minor: ir.Value) -> ir.Value:
        return b.gep(array, [b.add(b.mul(major, step), minor)])

    if lanes == 1:
        with loop(b, I64(0), rows) as row, loop(b, I64(0), columns) as column:
            value = b.load(place(source, stride, row, column))
            b.store(value, place(target, out_stride, column, row))
        b.ret_void()
        return function
    whole_rows = b.sub(rows, b.urem(rows, I64(lanes)))
    whole_columns = b.sub(columns, b.urem(columns, I64(lanes)))
    with (
        loop(b, I64(0), whole_rows, lanes) as row,
        loop(b, I64(0), whole_columns, lanes) as column,
    ):
        lines = []
        for i in range(lanes):
            at = place(source, stride, b.add(row, I64(i)), column)
            lines.append(load_vector(b, at, lanes, lanes))
        for i, line in enumerate(_transpose(b, lines)):
            at = place(target, out_stride, b.add(column, I64(i)), row)
            store_vector(b, at, line, lanes)
    with loop(b, I64(0), rows) as row:
        in_square = b.icmp_signed("<", row, whole_rows)
        with loop(b, b.select(in_square, whole_columns, I64(0)), columns) as column:
            value = b.load(place(source, stride, row, column))
            b.store(value, place(target, out_stride, column, row))
    b.ret_void()
    return function


def _declare(module: ir.Module, name: str, element: ir.Type) -> tuple[ir.Function, bool]:
    """Return the function `name`, and whether it is new and empty."""
    known = module.globals.get(name)
    if known is not None:
        return known, False
    pointer = element.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, I64, pointer, I64, I64, I64])
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    return function, True


def _transpose(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square block of row vectors by exchanging ever smaller quadrants."""
    lanes = len(rows)
    step = lanes // 2
    while step:
        low = indices([i if not i & step else lanes + i - step for i in range(lanes)])
        high = indices([i + step if not i & step else lanes + i for i in range(lanes)])
        for i in range(lanes):
            if not i & step:
                x, y = rows[i], rows[i + step]
                rows[i] = b.shuffle_vector(x, y, low)
                rows[i + step] = b.shuffle_vector(x, y, high)
        step //= 2
    return rows

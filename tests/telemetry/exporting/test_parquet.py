import math
from datetime import UTC, datetime

import duckdb
import pytest

from telemetry.exporting import parquet
from telemetry.exporting.parquet import Column, ParquetError

COLUMNS = [Column("n", "INTEGER"), Column("told", "VARCHAR"), Column("x", "DOUBLE")]


def made(folder, content, columns=COLUMNS, name="given.csv"):
    (folder / name).write_text(content)
    return parquet.write(folder / name, columns, folder / "made.parquet")


def rows(folder):
    return duckdb.sql(f"FROM '{folder / 'made.parquet'}'").fetchall()


def test_an_empty_field_is_null_and_a_quoted_one_is_an_empty_text(tmp_path):
    assert made(tmp_path, '1,,\n2,"",0.5\n') == 2
    assert rows(tmp_path) == [(1, None, None), (2, "", 0.5)]


def test_texts_keep_quotes_commas_lines_and_letters(tmp_path):
    text = 'a "b", ü\r\nc \\N NULL'
    quoted = text.replace('"', '""')
    with (tmp_path / "given.csv").open("w", newline="") as out:
        out.write(f'1,"{quoted}",\n')
    parquet.write(tmp_path / "given.csv", COLUMNS, tmp_path / "made.parquet")
    assert rows(tmp_path) == [(1, text, None)]


@pytest.mark.parametrize("told", ["-0", "5e-324", "1.7976931348623157e+308", "0.1", "1e+15", "2.2250738585072014e-308"])
def test_numbers_are_exact(tmp_path, told):
    made(tmp_path, f"1,,{told}\n")
    found = rows(tmp_path)[0][2]
    assert (found, math.copysign(1, found)) == (float(told), math.copysign(1, float(told)))


def test_moments_keep_their_microsecond(tmp_path):
    made(tmp_path, "2025-03-30 01:59:59.000001+00\n", [Column("ts", "TIMESTAMPTZ")])
    found = duckdb.sql(f"SELECT epoch_us(ts) FROM '{tmp_path / 'made.parquet'}'").fetchall()[0][0]
    assert found == int(datetime(2025, 3, 30, 1, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000 + 1


def test_the_order_stays(tmp_path):
    count = 3 * parquet.ROWS_A_GROUP
    content = "".join(f"{(number * 7919) % count},,\n" for number in range(count))
    assert made(tmp_path, content) == count
    assert [row[0] for row in rows(tmp_path)] == [(number * 7919) % count for number in range(count)]


def test_a_compressed_csv_is_read_by_its_name(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "given.csv.zst").write_bytes(zstandard.compress(b"1,a,2\n"))
    assert parquet.write(tmp_path / "given.csv.zst", COLUMNS, tmp_path / "made.parquet") == 1
    assert rows(tmp_path) == [(1, "a", 2.0)]


def test_no_rows_make_a_file_with_columns(tmp_path):
    assert made(tmp_path, "") == 0
    assert duckdb.sql(f"FROM '{tmp_path / 'made.parquet'}'").columns == ["n", "told", "x"]


def test_names_with_quotes_are_names(tmp_path):
    made(tmp_path, "1\n", [Column("a \"b' c", "INTEGER")])
    assert duckdb.sql(f"FROM '{tmp_path / 'made.parquet'}'").columns == ["a \"b' c"]


@pytest.mark.parametrize("content", ["x,,\n", "1,,\n2\n", "1,,,x\n", '1,"open,\n'])
def test_what_is_no_such_csv_is_refused_and_leaves_nothing(tmp_path, content):
    with pytest.raises(ParquetError, match=str(tmp_path)):
        made(tmp_path, content)
    assert [each.name for each in tmp_path.iterdir()] == ["given.csv"]


def test_a_csv_that_is_not_there(tmp_path):
    with pytest.raises(ParquetError, match=r"nothing\.csv"):
        parquet.write(tmp_path / "nothing.csv", COLUMNS, tmp_path / "made.parquet")


def test_it_reads_and_writes_nowhere_else(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("x")
    for sql in (f"FROM read_text('{tmp_path / 'secret'}')", f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'"):
        with pytest.raises(ParquetError, match="disabled by configuration"), parquet.opened(inside) as connection:
            connection.execute(sql)
    with pytest.raises(ParquetError), parquet.opened(inside) as connection:
        connection.execute("SET enable_external_access = true")

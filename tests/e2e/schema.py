# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.json for tests: its operations, and a check of values against its schemas.

The check knows the words of JSON Schema that the document uses and refuses others, so that none is passed over."""
import json
import os
import re

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "openapi.json")
METHODS = ("get", "put", "post", "delete", "patch")
NOTES = {"description", "format"}  # say something to people, forbid nothing
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


class Document:
    def __init__(self, text=None):
        if text is None:
            with open(PATH) as file:
                text = file.read()
        self.root = json.loads(text)

    def resolve(self, value):
        while "$ref" in value:
            node = self.root
            for part in value["$ref"].removeprefix("#/").split("/"):
                node = node[part.replace("~1", "/").replace("~0", "~")]
            value = node
        return value

    def operations(self):
        """(path, METHOD, operation) of each."""
        for path, item in self.root["paths"].items():
            for method, operation in self.resolve(item).items():
                assert method in METHODS, (path, method)
                yield path, method.upper(), operation

    def operation(self, method, path):
        """The operation that a request meets, its {…} filled in."""
        for template, its_method, operation in self.operations():
            pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template))
            if its_method == method and re.fullmatch(pattern, path):
                return operation
        raise AssertionError(f"no operation for {method} {path}")

    def check_answer(self, method, path, status, content_type, body):
        """Fails where the answer is not one that the document tells of."""
        responses = self.operation(method, path)["responses"]
        assert str(status) in responses, f"{method} {path}: status {status} is not documented: {body[:300]}"
        content = self.resolve(responses[str(status)]).get("content")
        if content is None:
            return
        media = content_type.split(";")[0]
        assert media in content, f"{method} {path}: {status} with {content_type}"
        if "json" in media:
            self.check(json.loads(body), content[media]["schema"], f"{method} {path} {status}")

    def check(self, value, schema, where):
        schema = self.resolve(schema)
        for word, wanted in schema.items():
            if word in NOTES:
                continue
            if word == "type":
                self.check_type(value, wanted, where)
            elif word == "enum":
                assert value in wanted, f"{where}: {value!r} is none of {wanted}"
            elif word == "pattern":
                assert re.search(wanted, value), f"{where}: {value!r} does not match {wanted}"
            elif word == "minimum":
                assert value >= wanted, f"{where}: {value} < {wanted}"
            elif word == "maximum":
                assert value <= wanted, f"{where}: {value} > {wanted}"
            elif word in ("minLength", "maxLength"):
                assert len(value) >= wanted if word == "minLength" else len(value) <= wanted, f"{where}: {value!r}"
            elif word == "required":
                assert set(wanted) <= set(value), f"{where}: missing {set(wanted) - set(value)}"
            elif word == "properties":
                for name, inner in wanted.items():
                    if name in value:
                        self.check(value[name], inner, f"{where}.{name}")
            elif word == "additionalProperties":
                assert wanted is False, f"{where}: additionalProperties {wanted}"
                assert set(value) <= set(schema["properties"]), f"{where}: unknown {set(value) - set(schema['properties'])}"
            elif word == "items":
                for index, inner in enumerate(value):
                    self.check(inner, wanted, f"{where}[{index}]")
            else:
                raise AssertionError(f"the check does not know {word!r} ({where})")

    @staticmethod
    def check_type(value, wanted, where):
        if wanted == "integer":
            good = isinstance(value, int) and not isinstance(value, bool)
        else:
            good = isinstance(value, TYPES[wanted])
        assert good, f"{where}: {value!r} is no {wanted}"

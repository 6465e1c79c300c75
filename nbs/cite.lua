-- Links to papers become citations. The pages have `[Zhang et al., 2017](https://arxiv.org/abs/1608.03981)`, which reads
-- well everywhere; the entry of references.bib with that url gives the key, and citeproc, which comes after, does the rest.
local keys, here = {}, (PANDOC_SCRIPT_FILE or ''):gsub('[^/\\]*$', '')

local function read(path)
  local file, key = io.open(path), nil
  for line in file and file:lines() or function() end do
    key = line:match '^@%a+{([^,%s]+)' or key
    local url = line:match '^%s*url%s*=%s*{(.+)},?%s*$'
    if url then keys[url] = key end
  end
end

local function Meta(meta)                                 -- read what `bibliography` names, or the file beside this one
  meta.bibliography = meta.bibliography or here .. 'references.bib'
  local bib = meta.bibliography
  for _, b in ipairs(pandoc.utils.type(bib) == 'List' and bib or {bib}) do read(pandoc.utils.stringify(b)) end
  if not next(keys) then io.stderr:write('[WARNING] cite.lua: no references with a url were found\n') end
  if meta['link-citations'] == nil then meta['link-citations'] = true end
  return meta
end

local function is_html(x, pattern) return x.t == 'RawInline' and x.text:match(pattern) end
local function key_of(x) return x and x.t == 'Link' and keys[x.target] end
local function find(xs, i, test) for j = i, #xs do if test(xs[j]) then return j end end end
local function slice(xs, i, j) return pandoc.Inlines{table.unpack(xs, i, j)} end
local function cite(x, mode) return pandoc.Cite(x.content, {pandoc.Citation(key_of(x), mode)}) end

local function html_links(xs)                             -- <a href="https://doi.org/...">text</a> is a link like any other
  local i = find(xs, 1, function(x) return keys[is_html(x, '^<a%s.-href="([^"]+)"')] end)
  local j = i and find(xs, i, function(x) return is_html(x, '^</a>') end)
  if not j then return xs end
  local link = pandoc.Link(slice(xs, i+1, j-1), is_html(xs[i], 'href="([^"]+)"'))
  return slice(xs, 1, i-1) .. {link} .. html_links(slice(xs, j+1, #xs))
end

local function Inlines(xs)
  xs = html_links(xs)
  local out, i = pandoc.Inlines{}, 1
  while i <= #xs do
    local x, before = xs[i], out[#out]
    local text = key_of(x) and pandoc.utils.stringify(x)
    local opened = before and before.t == 'Str' and before.text:match '^(.*)%($'
    local j = text and opened and find(xs, i, function(o) return o.t == 'Str' and o.text:find(')', 1, true) end)
    if not text then out:insert(x)
    elseif not text:match '%d%d%d%d%a?%)?$' then          -- [BM3D](url): the name stays, the citation follows it
      out = out .. x.content .. {pandoc.Space(), cite(x, 'NormalCitation')}
    elseif not j then out:insert(cite(x, 'AuthorInText'))   -- as [He et al. (2015)](url) advise
    else                                                    -- ([He et al., 2015](url), section 2; ...), and Tobin's ([1958](url))
      local c = cite(x, text:match '^%d+%a?$' and 'SuppressAuthor' or 'NormalCitation')
      local last, rest = xs[j].text:match '^(.-)%)(.*)$'
      for k = i+1, j do
        local y = k < j and xs[k] or pandoc.Str(last)     -- the separator of two citations, `; `, is citeproc's own
        if key_of(y) then c.citations:insert(pandoc.Citation(key_of(y), 'NormalCitation'))
        elseif not (key_of(xs[k+1]) or key_of(xs[k+2]) and y.text:match '^[;,]$' or y.text == '') then c.citations[#c.citations].suffix:insert(y) end
      end
      out[#out] = pandoc.Str(opened)
      out = out .. {c, pandoc.Str(rest)}
      i = j
    end
    i = i + 1
  end
  return out
end

return {{Meta = Meta}, {Inlines = Inlines}}

select
  id as productversion_id,
  product_id,
  price as productversion_price,
  description as productversion_description,
  {{ utc('created_on') }} as productversion_created_on
from {{ deduplicate(source('ol_warehouse_raw_data', 'raw__xpro__app__postgres__ecommerce_productversion'), key=['id']) }}
